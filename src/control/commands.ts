/** What `tunnel stop`, `tunnel reconnect` and `tunnel reload` do with a tunnel that runs. */
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import { printable } from '../observe/printable.ts';
import type { Prompter } from '../ssh/prompter.ts';
import { Accounts } from '../system/accounts.ts';
import {
  type AskOptions,
  ask,
  askAgain,
  CUT_OFF_TWICE,
  hasGone,
  isCutOff,
  type RunningTunnel,
} from './client.ts';
import { lives, livesOn } from './directory.ts';
import { questionFrom } from './question.ts';
import { tooManyNotices } from './remoteprompter.ts';
import { fieldOf, MAX_ANSWER_BYTES, MAX_NOTICES, textOf } from './wire.ts';

/** Longer than a session takes to close all its parts. */
const STOP_MS = 30_000;
const LOOK_MS = 50;
/** How often `reconnect` looks what the tunnel waits for, and which wait is worth a word. */
const LOOK_AT_WAIT_MS = 1_000;
const LONG_WAIT_MS = 3_000;
const MAX_REASON = 300;

/** Resolves when its process has ended. Rejects with TunnelError `control-failed`. */
export async function stopTunnel(tunnel: RunningTunnel, signal: AbortSignal): Promise<void> {
  const { pid } = tunnel;
  try {
    const answer = await askAgain(tunnel, { do: 'stop' }, { signal });
    if (answer === undefined && livesOn(pid))
      throw new TunnelError('control-failed', CUT_OFF_TWICE, {
        hint: `it may be asked by as many as it serves: try again, or end it in order with "kill ${pid}"`,
      });
  } catch (error) {
    if (!hasGone(error)) throw error; // else it ends already
  }
  const until = performance.now() + STOP_MS;
  while (lives(pid)) {
    if (performance.now() > until) {
      throw new TunnelError('control-failed', `it has not ended within ${STOP_MS / 1_000} s`, {
        hint: `its log says why; "kill -9 ${pid}" ends it, and "tunnel clean" repairs what is left`,
      });
    }
    await delay(LOOK_MS, undefined, { signal });
  }
}

/** What the caller of a command is told meanwhile. */
export interface Told {
  /** A wait before the jump host is dialled, if it is long enough to be told. */
  readonly waits: (sentence: string) => void;
  /** A line of a notice that wants no answer, such as to touch a security key. */
  readonly says: (line: string) => void;
}

/** Resolves when the link stands again. Its questions go to `prompter`. */
export async function reconnectTunnel(
  tunnel: RunningTunnel,
  prompter: Prompter,
  signal: AbortSignal,
  { waits, says }: Told,
): Promise<void> {
  const questions = await questionsOf(tunnel, { prompter, says }, signal);
  const options = { limit: undefined, signal, questions, listener: tunnel };
  const over = new AbortController();
  void tellWaits(tunnel, AbortSignal.any([signal, over.signal]), waits);
  try {
    await ask(tunnel.path, { do: 'reconnect' }, options).catch(endedMeanwhile);
  } finally {
    over.abort();
  }
}

/** Looks until `signal` aborts; never rejects. */
async function tellWaits(
  tunnel: RunningTunnel,
  signal: AbortSignal,
  tell: (sentence: string) => void,
): Promise<void> {
  const { path, maxBytes = MAX_ANSWER_BYTES } = tunnel;
  const request = { do: 'status', only: 'link' };
  let last: number | undefined;
  try {
    for (;;) {
      await delay(LOOK_AT_WAIT_MS, undefined, { signal });
      const answer = await ask(path, request, { signal, listener: tunnel, maxBytes });
      const link = fieldOf(fieldOf(answer, 'status'), 'link');
      const redialAt = fieldOf(link, 'redialAt');
      if (textOf(link, 'state') !== 'waiting' || typeof redialAt !== 'number') continue;
      const left = redialAt - Date.now();
      if (left < LONG_WAIT_MS || (last !== undefined && Math.abs(redialAt - last) < 1_000))
        continue;
      last = redialAt;
      const why = textOf(fieldOf(link, 'error'), 'message');
      const reason = why === undefined ? '' : `: ${printable(why.slice(0, MAX_REASON))}`;
      tell(`it waits ${waitText(left)} before it connects again${reason}`);
    }
  } catch {
    // It is over, or the tunnel doesn't answer, which the request itself reports.
  }
}

/** Throws it, or TunnelError `control-failed` if it says that the tunnel has gone. */
function endedMeanwhile(cause: unknown): never {
  if (!hasGone(cause) && !isCutOff(cause)) throw cause;
  throw new TunnelError('control-failed', `it has ended meanwhile (${reasonOf(cause)})`, {
    hint: 'its log says why; "tunnel status" shows what runs',
    cause,
  });
}

function waitText(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** Resolves when it has read its line again, with a sentence for each thing that came of it. */
export async function reloadTunnel(
  tunnel: RunningTunnel,
  prompter: Prompter,
  signal: AbortSignal,
  says: Told['says'],
): Promise<readonly string[]> {
  const questions = await questionsOf(tunnel, { prompter, says }, signal);
  const options = { limit: undefined, signal, questions, listener: tunnel };
  const answer = await ask(tunnel.path, { do: 'reload' }, options).catch(endedMeanwhile);
  const reload = fieldOf(answer, 'reload');
  const notices = fieldOf(reload, 'notices');
  return [textOf(reload, 'said'), ...(Array.isArray(notices) ? notices : [])].filter(
    (text) => typeof text === 'string',
  );
}

/** Puts a tunnel's questions to a person, who is told first whose tunnel asks. */
async function questionsOf(
  { pid, status }: RunningTunnel,
  { prompter, says }: { readonly prompter: Prompter; readonly says: Told['says'] },
  stop: AbortSignal,
): Promise<NonNullable<AskOptions['questions']>> {
  const accounts = await Accounts.read();
  let notices = 0;
  return async (asked, { user }, over) => {
    const whose = user === undefined ? undefined : (accounts.nameOf(user) ?? `user ${user}`);
    const { name } = status;
    const { kind, question, preamble, alternative } = questionFrom(asked, {
      name,
      user: whose,
      pid,
    });
    if (kind === 'notice') {
      if (++notices > MAX_NOTICES) throw tooManyNotices();
      for (const line of [...preamble, question]) says(line);
      return '';
    }
    const options = { preamble, signal: AbortSignal.any([stop, over]) };
    if (kind === 'secret') return prompter.secret(question, options);
    if (kind === 'line') return prompter.line(question, options);
    const more = alternative === undefined ? options : { ...options, alternative };
    return (await prompter.confirm(question, more)) ? 'yes' : 'no';
  };
}
