"""Connect: the hosted pages by which a person connects an account of theirs, and the element that shows them in other sites."""
