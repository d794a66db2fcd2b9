"""The version of unspan, where the build reads it too."""

VERSION = "0.1.0"
