/** The options of a tunnel that runs without its terminal: -D, --pidfile, --syslog. */
import { type GivenOptions, once, readOptions, toggle, writtenFile } from './option.ts';

/** For commands that run until they are stopped, and have no command of the user's. */
export const SERVICE_OPTIONS = {
  heading: 'Running:',
  options: {
    daemon: toggle('-D, --daemon', 'return when it is ready, and run on without the terminal'),
    pidfile: once(
      '--pidfile <file>',
      'have the process id in this file while it is ready',
      writtenFile('name a file; "--ready-fd 3" tells a script when it is ready'),
    ),
    syslog: toggle('--syslog', 'log to the system log once it is ready; in the background always'),
  },
} as const;

export interface ServiceOptions {
  readonly daemon: boolean;
  readonly pidfile: string | undefined;
  readonly syslog: boolean;
}

export function readServiceOptions(given: GivenOptions): ServiceOptions {
  const { daemon, pidfile, syslog } = readOptions(SERVICE_OPTIONS, given);
  return {
    daemon: daemon !== undefined,
    pidfile: pidfile?.value,
    syslog: syslog !== undefined,
  };
}
