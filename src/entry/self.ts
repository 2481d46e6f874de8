/**
 * This process: how it was started, what it says on standard error, and how it ends.
 *
 * All messages go through one LineWriter. Nothing waits for the terminal until the program ends,
 * and then no longer than FLUSH_MS.
 */
import { fstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import { EXIT_SIGNAL_BASE, execExitCodeOf, exitCodeOf } from '../cli/exit.ts';
import { closeInspector, type NodeStart, nodeStartOf } from '../cli/node.ts';
import { isExec } from '../cli/program.ts';
import { reportError } from '../cli/report.ts';
import { statusLines } from '../cli/status.ts';
import type { Status } from '../control/status.ts';
import { withSystemReason } from '../errors/system.ts';
import { addon, addonIfAny } from '../native/addon.ts';
import { LineWriter } from '../observe/linewriter.ts';
import { Log } from '../observe/log.ts';
import { isJournal, JournalLines, Messages } from '../observe/messages.ts';
import type { Level } from '../observe/observer.ts';
import { printable } from '../observe/printable.ts';
import {
  type NativeWrite,
  type StandardErrorWriter,
  standardErrorWriter,
} from '../observe/standarderror.ts';
import { Syslog } from '../observe/syslog.ts';
import type { PrivilegedLink } from '../system/privileged/client.ts';
import { DaemonLink } from '../system/service/daemon.ts';
import { Notifier } from '../system/service/notify.ts';
import { discardStreams } from './streams.ts';

/** How long the end of the program waits for a terminal that takes nothing. */
const FLUSH_MS = 1000;
/** Of syslog(3). */
const SYSTEM_LOG = Buffer.from('/dev/log');

/** Node's names of what process.exit() would wait for. */
const UNCANCELLED: readonly string[] = ['GetAddrInfoReqWrap', 'FSReqCallback'];

export class Self {
  /** Without node and script. */
  readonly args: readonly string[];
  readonly nodeStart: NodeStart;
  /** Standard error; the system log once the program has been told so. */
  readonly stderr: Messages;
  /** To standard error itself, for what stands below the messages. */
  readonly lines: LineWriter;
  /** To the part of this program that is root: under sudo and doas. */
  privileged: PrivilegedLink | undefined;
  /** To the process that waits until this one is ready: with -D. */
  readonly daemon: DaemonLink | undefined;
  #notifier = Notifier.take({});
  readonly #standardError: StandardErrorWriter;
  /** Of standard input, output and error, those that were terminals at the start. */
  readonly #terminals = [0, 1, 2].filter((fd) => isatty(fd));
  /** The log of the current run. */
  #log: Log | undefined;
  /** Of the current run, once it is opened so far that there is one. */
  #status: (() => Status) | undefined;
  /** Whether stacks are shown: known once the options have been read. */
  #detailed = false;

  /**
   * Takes USR1 and USR2 over. This comes first: until the program handles USR1, it makes Node start
   * its debugger, and USR2 ends the program. Under `exec` both belong to the command; before the
   * command runs they are ignored.
   */
  constructor() {
    this.args = process.argv.slice(2);
    this.nodeStart = nodeStartOf(process.execArgv, process.env);
    process.on('SIGUSR1', () => {
      if (!isExec(this.args)) this.#show();
    });
    process.on('SIGUSR2', () => {});
    closeInspector(this.nodeStart);
    this.daemon = DaemonLink.take(process.env);
    if (this.daemon !== undefined) discardStreams();
    const reopens = !this.nodeStart.asRoot;
    this.#standardError = standardErrorWriter(nativeWrite, { reopens });
    this.lines = new LineWriter(this.#standardError);
    this.stderr = new Messages(isJournalsOwn() ? new JournalLines(this.lines) : this.lines);
    this.#sayWarnings();
    this.#endOnFaults();
  }

  /** To systemd, if it listens. */
  get notifier(): Notifier {
    return this.#notifier;
  }

  /** From now on it hears of this process, and not of those that this one starts. */
  findSystemd(): void {
    this.#notifier = Notifier.take(process.env);
  }

  /** The log of a run. */
  createLog(level: Level): Log {
    this.#detailed = level === 'debug';
    this.#log = new Log({ level, sink: this.stderr });
    return this.#log;
  }

  /** What USR1 shows from now on, besides the counters. */
  showStatus(status: () => Status): void {
    this.#status = status;
  }

  /** The run has ended, and its status and its counters with it. */
  dropLog(): void {
    this.#log = undefined;
    this.#status = undefined;
  }

  /**
   * From here on messages go to the system log. Standard error, for which what waits is written
   * within `milliseconds`, isn't used any more.
   */
  logToSystem(milliseconds: number): void {
    this.stderr.flush(milliseconds);
    const send = (octets: Uint8Array) => addon().sendDatagram(SYSTEM_LOG, octets);
    this.stderr.switchTo(new Syslog({ send, pid: process.pid }));
    this.#standardError.letGo();
  }

  /** Reports the error, and sets the exit status. */
  fail(error: unknown): void {
    const known = withSystemReason(error);
    process.exitCode = isExec(this.args) ? execExitCodeOf(known) : exitCodeOf(known);
    this.stderr.writeSurely(reportError(known, this.#detailed));
  }

  /** A signal has stopped what it was asked to do. */
  failBySignal(number: number): void {
    process.exitCode = EXIT_SIGNAL_BASE + number;
  }

  /**
   * Ends the program. process.exit() waits for what libuv's threads do and can't be cancelled: name
   * look-ups, half a minute with several silent resolvers, and a read of a pipe that nobody writes
   * to (`tunnel nc`). While one is pending, the program ends without process.exit(), after an
   * 'exit' event: code that has changed the terminal's mode restores it then. The same where the
   * terminal has hung up: Node aborts if it can't reset it.
   */
  end(status: number): never {
    this.stderr.flush(FLUSH_MS);
    const hungUp = this.#terminals.some((fd) => !isatty(fd));
    const pending = process.getActiveResourcesInfo();
    if (!hungUp && !pending.some((name) => UNCANCELLED.includes(name))) return process.exit(status);
    process.emit('exit', status);
    return leaveNow(status);
  }

  /** Ends the program with the status of another one, and leaves the terminal as that left it. */
  leave(status: number): never {
    this.stderr.flush(FLUSH_MS);
    return leaveNow(status);
  }

  #show(): void {
    this.#log?.show(this.#status === undefined ? [] : statusLines(this.#status()));
  }

  /**
   * Node's own streams stay unused: for a pipe they would set O_NONBLOCK for everybody who shares
   * it.
   */
  #sayWarnings(): void {
    process.removeAllListeners('warning');
    process.on('warning', (warning) =>
      this.stderr.write(`tunnel: warning: ${printable(String(warning))}\n`),
    );
  }

  /**
   * After an unhandled fault the parts are in an unknown state. All host state depends on the
   * process, so end it.
   */
  #endOnFaults(): void {
    for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
      process.on(event, (error: unknown) => {
        this.fail(error);
        this.end(Number(process.exitCode));
      });
    }
  }
}

function isJournalsOwn(): boolean {
  try {
    return isJournal(process.env['JOURNAL_STREAM'], fstatSync(2, { bigint: true }));
  } catch {
    return false; // EBADF: it was closed
  }
}

/** Without the addon Node resets the terminal, and waits for look-ups. */
function leaveNow(status: number): never {
  return addonIfAny()?.leave(status) ?? process.exit(status);
}

function nativeWrite(): NativeWrite | undefined {
  return addonIfAny()?.writeNow;
}
