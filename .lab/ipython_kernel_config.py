# Installed into the environment as etc/ipython/ipython_kernel_config.py (cnnlab/course/first_cell).
c = get_config()  # noqa: F821 - IPython defines it
c.InteractiveShellApp.extensions.append("cnnlab.course.first_cell")
