"""Interactive pictures, one file per chapter, over the frame in `cnnlab.explorers.frame`."""
