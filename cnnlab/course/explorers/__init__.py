"""Interactive pictures, one file per chapter, over the frame in `explorer`."""
