/** The report below the messages, where standard error is a terminal that can show one. */
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import type { Configuration } from '../config/configuration.ts';
import { addon, addonIfAny } from '../native/addon.ts';
import type { Log } from '../observe/log.ts';
import type { RunReport } from '../session/ready.ts';
import type { Prompter } from '../ssh/prompter.ts';
import type { Self } from './self.ts';

const STDERR = 2;

export interface Shows {
  readonly report: RunReport | undefined;
  /** Asks where the report is not. */
  readonly prompter: Prompter;
}

/** Without a terminal, with -q, -D, --syslog or --no-progress there is no report. */
export async function showRun(
  self: Self,
  configuration: Configuration,
  observer: Log,
  prompter: Prompter,
): Promise<Shows> {
  const none = { report: undefined, prompter };
  if (!isWanted(self, configuration) || !isatty(STDERR)) return none;
  if (addonIfAny()?.terminalView(STDERR) === undefined) return none;
  const { encoder, movesCursor } = await import('../cli/watch/encode.ts');
  if (!movesCursor(process.env)) return none;
  const { Display } = await import('../cli/display/display.ts');
  const display = new Display({
    writer: self.lines,
    encode: encoder(process.env),
    view: () => addon().terminalView(STDERR),
    waits: observer.waits,
    stopSelf: () => addon().stopSelf(constants.signals.SIGTSTP),
    reflows: process.env['XTERM_VERSION'] === undefined,
  });
  const report: RunReport = {
    follow(glance) {
      self.stderr.keepAbove(display);
      const end = display.begin(glance);
      return () => {
        const last = end();
        self.stderr.keepAbove(undefined);
        if (last !== undefined) observer.log('notice', last);
      };
    },
  };
  return { report, prompter: display.around(prompter) };
}

function isWanted({ daemon }: Self, { progress, logLevel, service }: Configuration): boolean {
  const quiet = logLevel === 'warning' || logLevel === 'error';
  return progress && !quiet && daemon === undefined && !service.daemon && !service.syslog;
}
