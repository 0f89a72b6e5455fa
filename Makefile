# pipit: built by GNU make. `make help` lists the targets; tools/build.mk says how things are compiled,
# tools/targets.mk what can be asked for.
include tools/build.mk
include tools/targets.mk
