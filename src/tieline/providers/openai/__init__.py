"""OpenAI: an organization's people, projects, API keys and models."""
