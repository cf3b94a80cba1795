/** What the chat asks over HTTP: the tree of a conversation, the list of them, and changes of either. */

export class ApiError extends Error {
  /** @param {number} status of HTTP; 0 where nobody answered @param {string} message "" for no words */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  /**
   * @param {Record<string, string>} urls with the literal `{conversation}` where an id goes
   * @param {() => string} token against forged requests
   */
  constructor(urls, token) {
    this.urls = urls;
    this.token = token;
  }

  /** @param {string} name @param {string} conversation */
  address(name, conversation) {
    return (this.urls[name] ?? "").replace("{conversation}", encodeURIComponent(conversation));
  }

  /**
   * The messages from the first one to the newest, or through one message to the newest below it.
   *
   * @param {string} id
   * @param {string} [message]
   */
  conversation(id, message) {
    return this.#get(this.address("data", id), message ? { message } : {});
  }

  /** @param {string} chain @param {string} q words of a title */
  list(chain, q) {
    return this.#get(this.urls.list, q ? { chain, q } : { chain });
  }

  /** @param {string} id @param {string} title */
  rename(id, title) {
    return this.#post(this.address("rename", id), { title });
  }

  /** @param {string} id */
  remove(id) {
    return this.#post(this.address("delete", id), {});
  }

  /** @param {string} id @param {string} message the conversation ends with the newest below it */
  moveHead(id, message) {
    return this.#post(this.address("head", id), { message });
  }

  /** @param {string} address @param {Record<string, string>} query */
  #get(address, query) {
    const url = new URL(address, location.href);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return ask(url, {});
  }

  /** @param {string} address @param {Record<string, string>} fields */
  #post(address, fields) {
    const headers = { "X-CSRFToken": this.token() };
    return ask(new URL(address, location.href), {
      method: "POST",
      headers,
      body: new URLSearchParams(fields),
    });
  }
}

/** @param {URL} url @param {RequestInit} request @returns {Promise<any>} */
async function ask(url, request) {
  const headers = { Accept: "application/json", ...request.headers };
  const response = await fetch(url, { ...request, headers, credentials: "same-origin" }).catch(() => null);
  if (!response) throw new ApiError(0, "");
  const answer = await response.json().catch(() => null);
  if (response.ok && !response.redirected) return answer;
  const said = answer?.error?.message ?? answer?.message ?? answer?.error;
  throw new ApiError(response.status, typeof said === "string" ? said : "");
}
