"""Gemini: the models that an API key of Google's Gemini API reaches."""
