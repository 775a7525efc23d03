"""Training of the brightness-and-shading corrector on small views of frames."""
