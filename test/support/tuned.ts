/**
 * The program with some settings changed past its command line, so that what takes minutes takes seconds:
 * `node tuned.js '{"reconnectHold":5,"keepalive":{"interval":1,"count":2}}' -r REMOTE TARGET...`. Otherwise it is what main.ts is.
 */
import { exitCodeOf } from '../../src/cli/exit.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { TerminalPrompter } from '../../src/cli/prompt.ts';
import { reportError } from '../../src/cli/report.ts';
import type { Configuration, SshOptions } from '../../src/config/configuration.ts';
import { Log } from '../../src/observe/log.ts';
import { run } from '../../src/run.ts';

const [overrides = '{}', ...argv] = process.argv.slice(2);

async function connect(configuration: Configuration): Promise<void> {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  const ssh: SshOptions = { ...configuration.ssh, ...(JSON.parse(overrides) as Partial<SshOptions>) };
  const observer = new Log({ level: configuration.logLevel, stream: process.stderr });
  const options = { observer, prompter: new TerminalPrompter(), stop: stop.signal };
  await run({ ...configuration, ssh }, options);
}

try {
  await runCommandLine(argv, { connect }, { output: (text) => process.stdout.write(text), columns: 80 });
} catch (error) {
  process.exitCode = exitCodeOf(error);
  process.stderr.write(reportError(error, true));
}
process.exit();
