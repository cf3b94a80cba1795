/**
 * Keeps a scrolled thread at its end as long as the reader is there, and offers the way back when
 * he is not. Growth is heard of after the layout that it caused, so nothing is measured twice.
 */

const NEAR = 64; // pixels from the end that still count as being there

export class EndKeeper {
  #isThere = true;
  #top = 0;

  /**
   * @param {HTMLElement} viewport what scrolls
   * @param {HTMLElement} content what grows in it
   * @param {HTMLElement} button "Jump to latest"
   */
  constructor(viewport, content, button) {
    this.viewport = viewport;
    this.content = content;
    this.button = button;
    this.observer = new ResizeObserver(() => this.#grown());
  }

  connect() {
    this.viewport.addEventListener("scroll", this.#scrolled, { passive: true });
    this.button.addEventListener("click", this.#jump);
    this.observer.observe(this.content);
    this.observer.observe(this.viewport);
  }

  disconnect() {
    this.viewport.removeEventListener("scroll", this.#scrolled);
    this.button.removeEventListener("click", this.#jump);
    this.observer.disconnect();
  }

  /** To the end, because the reader did something that belongs there. */
  follow() {
    this.#isThere = true;
    this.#grown();
  }

  #grown() {
    if (this.#isThere) this.viewport.scrollTop = this.viewport.scrollHeight;
    this.#offer();
  }

  /** Only somebody who scrolls up leaves the end; a thread that grows or shrinks does not take him away. */
  #scrolled = () => {
    const { scrollTop } = this.viewport;
    if (this.#distance() <= NEAR) this.#isThere = true;
    else if (scrollTop < this.#top) this.#isThere = false;
    this.#top = scrollTop;
    this.#offer();
  };

  #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.viewport;
    return scrollHeight - scrollTop - clientHeight;
  }

  #offer() {
    this.button.hidden = this.#isThere || this.#distance() <= NEAR;
  }

  #jump = () => {
    const hadFocus = this.button === document.activeElement;
    this.follow();
    if (hadFocus) this.viewport.focus({ preventScroll: true }); // the button goes away under it
  };
}
