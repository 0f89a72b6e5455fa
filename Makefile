# pipit: built by GNU make. `make help` lists the targets.
include tools/build.mk
