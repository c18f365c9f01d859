"""The single steps of a sync, each tested alone: collect, transform, load, assess, attest, announce."""
