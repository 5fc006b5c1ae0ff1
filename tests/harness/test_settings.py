"""What drivers of tests set unless a test sets it otherwise."""

# Every connection is upgraded at once, and blocks are among what is tried, in messages of any test.
EVERY_PATH = {"DLACCEL_NET_THRESHOLD": "1", "DLACCEL_BLOCK_MIN": "192K"}
