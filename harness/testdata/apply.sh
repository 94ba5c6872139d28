#!/bin/sh
# What this does to a scripted guest is the test's.
