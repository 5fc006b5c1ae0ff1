"""test.test_multiprocessing_fork for an installation that lacks it: see STAND_INS in cpython.py."""
from test import _test_multiprocessing

_test_multiprocessing.install_tests_in_module_dict(globals(), "fork")
