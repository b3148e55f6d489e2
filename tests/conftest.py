"""Hands every test run the suite's habits; what they are is in suite.py."""


def pytest_configure(config):
    # `make test` loads it with -p, so that it reaches the notebooks too.
    if not config.pluginmanager.has_plugin("tests.suite"):
        config.pluginmanager.import_plugin("tests.suite")
