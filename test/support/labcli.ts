/**
 * `scripts/lab`: the lab for people. `up` leaves a process that owns the lab until `down`; the
 * other commands find it through its lab.json and enter namespaces by name.
 */
import { fork, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { TunnelError, UsageError } from '../../src/errors/errors.ts';
import * as address from './addresses.ts';
import { knownLabs, labDirectory, namespaceName, removeLab } from './janitor.ts';
import { Lab, type LabOptions, labUnavailable } from './lab.ts';
import { LabError } from './laberror.ts';
import { HOSTS, type Host } from './topology.ts';

const HELP = '--help shows the commands and options';

const USAGE = `usage: scripts/lab COMMAND

  up [--rtt MS] [--loss FRACTION] [--bandwidth BYTES_PER_SECOND] [--hardened] [--foreground]
                      make a lab and leave it running; --foreground: until Ctrl-C
  status              what labs there are
  shell [HOST] [-- COMMAND ARG...]
                      a shell, or one command, in client (default), uplink, jumphost, api1 or api2
  down                remove the labs that "up" has made, and what crashed ones have left

Needs root. The lab is described in test/support/lab.ts.
`;

const DOWN_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

type Flags = Readonly<Record<string, string | boolean | undefined>>;

/** The owning process's message to the process that started it. */
type Answer = { readonly id: string } | { readonly error: string };

function parseNumber(flags: Flags, name: string, max: number): Record<string, number> {
  const text = flags[name];
  if (text === undefined) return {};
  const value = Number(text);
  if (text === '' || !(value >= 0 && value <= max))
    throw new UsageError(`--${name}: "${text}" is not a number from 0 to ${max}`, { hint: HELP });
  return { [name]: value };
}

function labOptions(flags: Flags): LabOptions {
  return {
    ...parseNumber(flags, 'rtt', 10_000),
    ...parseNumber(flags, 'loss', 0.99),
    ...parseNumber(flags, 'bandwidth', 1.25e9),
    sshd: flags['hardened'] === true ? 'hardened' : 'open',
    forPerson: true,
  };
}

function describe(id: string): string {
  const directory = labDirectory(id);
  return `lab ${id}
  client       ip netns exec ${namespaceName(id, 'client')} ...   (or: scripts/lab shell)
  jump host    jump@${address.JUMPHOST4}, jump@[${address.JUMPHOST6}]
  key          ${directory}/credentials/authorized; HOME in "scripts/lab shell" has it in .ssh
  for ssh      ssh -F ${directory}/credentials/ssh_config jump
  behind it    http://${address.API1}/ http://[${address.API1_6}]/ http://${address.API2}/
  sshd's log   ${directory}/jumphost/sshd.log
`;
}

/** Keeps the lab until a signal comes; the janitor's handlers then remove it. */
async function own(options: LabOptions): Promise<Lab> {
  const lab = await Lab.create(options);
  setInterval(() => undefined, 2 ** 30);
  return lab;
}

async function up(flags: Flags, args: readonly string[]): Promise<number> {
  const options = labOptions(flags);
  if (flags['foreground'] === true) {
    const lab = await own(options);
    process.stdout.write(`${describe(lab.id)}  running until Ctrl-C\n`);
    return 0;
  }
  const owner = fork(fileURLToPath(import.meta.url), ['own', ...args], {
    detached: true,
    stdio: 'ignore',
  });
  const answer = await new Promise<Answer>((resolve) => {
    owner.once('message', (message) => resolve(message as Answer));
    owner.once('exit', (code) => resolve({ error: `the lab's process ended with ${code}` }));
  });
  if ('error' in answer) throw new LabError('lab-failed', answer.error);
  owner.disconnect();
  owner.unref();
  process.stdout.write(`${describe(answer.id)}  until "scripts/lab down"\n`);
  return 0;
}

/** The process behind `up`. */
async function ownDetached(flags: Flags): Promise<number> {
  const answer: Answer = await own(labOptions(flags)).then(
    (lab) => ({ id: lab.id }),
    (error: unknown) => ({
      error:
        error instanceof TunnelError || error instanceof LabError ? withHint(error) : String(error),
    }),
  );
  process.send?.(answer);
  return 'error' in answer ? 1 : 0;
}

function status(): number {
  const labs = knownLabs();
  if (labs.length === 0) process.stdout.write('no lab\n');
  for (const { id, record, ownerAlive } of labs) {
    if (ownerAlive && record?.forPerson === true) process.stdout.write(describe(id));
    else if (ownerAlive)
      process.stdout.write(`lab ${id} belongs to a test, process ${record?.pid ?? 'unknown'}\n`);
    else process.stdout.write(`lab ${id} is left over; "scripts/lab down" removes it\n`);
  }
  return 0;
}

async function down(): Promise<number> {
  for (const id of Lab.sweep()) process.stdout.write(`lab ${id} was left over: removed\n`);
  for (const { id, record } of knownLabs().filter((lab) => lab.record?.forPerson === true)) {
    if (record === undefined) continue;
    process.kill(record.pid, 'SIGTERM');
    const deadline = performance.now() + DOWN_TIMEOUT_MS;
    while (knownLabs().some((lab) => lab.id === id) && performance.now() < deadline)
      await sleep(POLL_MS);
    removeLab(id);
    process.stdout.write(`lab ${id} removed\n`);
  }
  return 0;
}

async function shell(positionals: readonly string[], command: readonly string[]): Promise<number> {
  const [name = 'client', surplus] = positionals;
  if (surplus !== undefined)
    throw new UsageError(`"${surplus}" is too much; a command goes after --`, { hint: HELP });
  const host = HOSTS.find((candidate) => candidate === name);
  if (host === undefined)
    throw new UsageError(`"${name}" is none of ${HOSTS.join(', ')}`, { hint: HELP });
  const lab = knownLabs().find(
    (candidate) => candidate.ownerAlive && candidate.record?.forPerson === true,
  );
  if (lab === undefined)
    throw new LabError('no-lab', 'there is no lab', { hint: 'make one with "scripts/lab up"' });
  return enter(lab.id, host, command.length > 0 ? command : [process.env['SHELL'] ?? '/bin/sh']);
}

/**
 * Puts the lab's own directory in the place of /run/tunnel: tunnels of the lab and of this machine
 * don't see each other, and a helper that listens there belongs to another network. "ip netns exec"
 * has made a mount namespace, so it ends with the shell.
 */
const OWN_RUNTIME = 'mkdir -p /run/tunnel && mount --bind "$0" /run/tunnel && exec "$@"';

function enter(id: string, host: Host, command: readonly string[]): Promise<number> {
  const runtime = `${labDirectory(id)}/run/${host}`;
  mkdirSync(runtime, { recursive: true, mode: 0o755 });
  const args = [
    ...['netns', 'exec', namespaceName(id, host)],
    ...['sh', '-c', OWN_RUNTIME, runtime, ...command],
  ];
  const env = {
    ...process.env,
    HOME: `${labDirectory(id)}/home/${host}`,
    SSH_AUTH_SOCK: undefined,
    XDG_RUNTIME_DIR: undefined,
    RUNTIME_DIRECTORY: undefined,
  };
  return new Promise((resolve, reject) => {
    const child = spawn('ip', args, { stdio: 'inherit', env });
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
}

function withHint(error: TunnelError | LabError): string {
  return error.hint === undefined ? error.message : `${error.message}\n  ${error.hint}`;
}

async function main(argv: readonly string[]): Promise<number> {
  const [command = 'help', ...args] = argv;
  const separator = args.indexOf('--');
  const { values, positionals } = parseArgs({
    args: separator < 0 ? args : args.slice(0, separator),
    allowPositionals: true,
    options: {
      rtt: { type: 'string' },
      loss: { type: 'string' },
      bandwidth: { type: 'string' },
      hardened: { type: 'boolean' },
      foreground: { type: 'boolean' },
    },
  });
  if (command !== 'shell' && positionals.length > 0)
    throw new UsageError(`"${positionals[0]}" is too much`, { hint: HELP });
  if (command === 'help' || command === '--help') {
    process.stdout.write(USAGE);
    return 0;
  }
  const unavailable = labUnavailable();
  if (unavailable !== false) throw new LabError('lab-unavailable', unavailable);
  switch (command) {
    case 'up':
      return up(values, args);
    case 'own':
      return ownDetached(values);
    case 'status':
      return status();
    case 'shell':
      return shell(positionals, separator < 0 ? [] : args.slice(separator + 1));
    case 'down':
      return down();
    default:
      throw new UsageError(`"${command}" is no command`, { hint: HELP });
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const usage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  const known =
    error instanceof TunnelError || error instanceof LabError
      ? withHint(error)
      : error instanceof Error
        ? error.message
        : String(error);
  process.stderr.write(
    `lab: ${known}\n${usage ? '  "scripts/lab help" lists the commands\n' : ''}`,
  );
  process.exitCode = usage ? 2 : 1;
}
