"""The engine: chat chains over OpenRouter in plain Python, without Django.

Readable bottom up: `errors`, `messages`, `partial_json`, `sse`, `wire`, `prompts`, `tools`,
`client`, `connections`, `flows`, `drivers`, `chains`. The names to import stand in `openrouter_app`.
"""
