"""How a camera is really mounted, found out from a recorded flight over a mapped region."""
