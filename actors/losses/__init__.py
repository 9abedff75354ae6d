"""What a run does about a part that died or hangs: it is missed, told of with stacks, and the run ends or goes on."""
