#!/bin/sh
# The entry point of Apache Kafka's image, which some files name; there is no Java here whose certificates it would fill.
exec "$@"
