/** Stand-ins for the commands that a command line may run. */
import type { Commands } from '../../src/cli/program.ts';

/** Each of them calls `run` with its name. A new command is added here only. */
export function standInCommands(run: (name: string) => Promise<void>): Commands {
  return {
    connect: () => run('connect'),
    proxy: () => run('proxy'),
    exec: () => run('exec'),
    nc: () => run('nc'),
    doctor: () => run('doctor'),
    openstack: () => run('openstack'),
    jumphost: () => run('jumphost'),
    status: () => run('status'),
    stop: () => run('stop'),
    reconnect: () => run('reconnect'),
    reload: () => run('reload'),
    clean: () => run('clean'),
  };
}
