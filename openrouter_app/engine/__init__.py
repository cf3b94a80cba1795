"""The engine: chat chains over OpenRouter in plain Python, without Django.

Readable bottom up: `errors`, `messages`, `partial_json`, `sse`, `chunks`, `wire`, `prompts`, `tools`,
`client`, `connections`, `flows`, `branches`, `drivers`, `chains`. The names to import stand in
`openrouter_app`.
"""
