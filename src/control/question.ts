/**
 * A question of a running tunnel, as it is put to the person at another terminal: `tunnel
 * reconnect`, `tunnel reload`. Root asks the tunnels of all users, and those may say anything. So
 * nothing of a question is believed or shown as it came:
 *
 *   alice's tunnel "lab" (pid 4711) asks:      written here; whose it is, the kernel says
 *   | Two-factor login                         the tunnel's lines, each with a mark
 *   | (alice@bastion) Code:                    the question
 *
 * Limits: MAX_PREAMBLE_LINES, MAX_TEXT_LENGTH; what is longer is cut.
 */
import { TunnelError } from '../errors/errors.ts';
import { harmless, printable } from '../observe/printable.ts';
import { fieldOf, OTHER_VERSION, textOf, type WireQuestion } from './wire.ts';

/** Lines above a question; a login's explanation is shorter. */
export const MAX_PREAMBLE_LINES = 40;
/** Characters of a line, and of the question itself. */
export const MAX_TEXT_LENGTH = 512;
/** Characters of a tunnel's name in the line above. */
const MAX_NAME_LENGTH = 64;
const MARK = '| ';

/** Whose tunnel asks. */
export interface Asker {
  /** The tunnel's own name for itself. */
  readonly name: string;
  /** The login name, or the number. undefined: the kernel doesn't tell. */
  readonly user: string | undefined;
  readonly pid: number;
}

/** Throws TunnelError `control-failed` if it is no question. */
export function questionFrom(value: unknown, asker: Asker): WireQuestion {
  const kind = textOf(value, 'kind');
  const question = textOf(value, 'question');
  const preamble = fieldOf(value, 'preamble');
  if (!isKind(kind) || question === undefined)
    throw new TunnelError('control-failed', 'its question is not understood', {
      hint: OTHER_VERSION,
    });
  const all: readonly unknown[] = Array.isArray(preamble) ? preamble : [];
  const lines = all.filter((line) => typeof line === 'string');
  const shown = lines.slice(0, MAX_PREAMBLE_LINES).map(marked);
  const more = lines.length - shown.length;
  return {
    kind,
    question: marked(question),
    preamble: [
      introduction(asker, kind === 'notice' ? 'says' : 'asks'),
      ...shown,
      ...(more > 0 ? [`and ${more} more lines, which are left out`] : []),
    ],
    alternative: alternativeFrom(fieldOf(value, 'alternative')),
  };
}

function isKind(kind: string | undefined): kind is WireQuestion['kind'] {
  return kind === 'secret' || kind === 'line' || kind === 'confirm' || kind === 'notice';
}

function introduction({ name, user, pid }: Asker, does: 'asks' | 'says'): string {
  const whose = user === undefined ? 'the tunnel' : `${bounded(user, MAX_NAME_LENGTH)}'s tunnel`;
  return `${whose} "${bounded(name, MAX_NAME_LENGTH)}" (pid ${pid}) ${does}:`;
}

function alternativeFrom(value: unknown): WireQuestion['alternative'] {
  const [text, name] = [textOf(value, 'text'), textOf(value, 'name')];
  if (text === undefined || name === undefined) return undefined;
  return { text: text.slice(0, MAX_TEXT_LENGTH), name: bounded(name, MAX_NAME_LENGTH) };
}

/** With the blanks at its end: the caller's SSH_ASKPASS may know questions by them. */
function marked(text: string): string {
  return `${MARK}${bounded(text, MAX_TEXT_LENGTH, harmless)}`;
}

function bounded(text: string, most: number, clean = printable): string {
  const shown = clean(text.slice(0, 4 * most));
  return shown.length > most ? `${shown.slice(0, most)}...` : shown;
}
