# make copies it to .venv/etc/ipython/, where kernels read it (see cnnlab/course/first_cell.py).
c = get_config()  # noqa: F821 - IPython defines it
c.InteractiveShellApp.extensions.append("cnnlab.course.first_cell")
