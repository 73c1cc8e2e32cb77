"""What people look at after a run: sample grids, a map of the codings, curves, and one HTML file of all of it."""
