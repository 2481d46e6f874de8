/**
 * Which values ssh takes for keywords that mean nothing to a tunnel (readconf.c). They have no
 * effect, but ssh refuses a whole file because of one that it doesn't know.
 */
import { tcpServicePort } from '../../system/services.ts';

/** Values of one keyword. `most`: on the line. */
export interface Expected {
  readonly most: number;
  readonly takes: (value: string, values: readonly string[]) => boolean;
  /** The hint for another value. */
  readonly form?: string;
}

const SECONDS_IN: Readonly<Record<string, number>> = {
  '': 1,
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
  w: 604_800,
};
/** Of an int, for numbers and for seconds (about 68 years). */
export const LARGEST = 2 ** 31 - 1;
const ANY = Number.POSITIVE_INFINITY;
/** ssh has more classes than these only as numbers. */
const SERVICE_CLASSES = `none lowdelay throughput reliability ef le va ${[1, 2, 3, 4]
  .flatMap((high) => [1, 2, 3].map((low) => `af${high}${low}`))
  .join(' ')} ${[0, 1, 2, 3, 4, 5, 6, 7].map((number) => `cs${number}`).join(' ')}`.split(' ');
const LOG_LEVELS = 'quiet fatal error info verbose debug debug1 debug2 debug3'.split(' ');
const FACILITIES = /^(daemon|user|auth|authpriv|local[0-7])$/i;
const DEVICE = /^(any|[0-9]+)(:(any|[0-9]+))?$/i;

function single(takes: (value: string) => boolean): Expected {
  return { most: 1, takes };
}

function list(takes: (value: string) => boolean): Expected {
  return { most: ANY, takes: (_, values) => values.every(takes) };
}

/** A list with `none`, or another such word, only by itself. */
function listOr(word: RegExp, takes: (value: string) => boolean): Expected {
  const { most } = list(takes);
  return {
    most,
    takes: (first, values) => (values.length === 1 && word.test(first)) || values.every(takes),
  };
}

/** Seconds; sshd_config(5), TIME FORMATS. undefined: it isn't a time, or too long. */
export function readTime(text: string): number | undefined {
  if (!/^([0-9]+[smhdw]?)+$/i.test(text)) return undefined;
  let seconds = 0;
  for (const [, count = '', unit = ''] of text.matchAll(/([0-9]+)([smhdw]?)/gi))
    seconds += Number(count) * (SECONDS_IN[unit.toLowerCase()] ?? 0);
  return seconds <= LARGEST ? seconds : undefined;
}

export function isTime(text: string): boolean {
  return readTime(text) !== undefined;
}

const anything = (): boolean => true;

/** The name in `$NAME`, as IdentityAgent and ForwardAgent have it. undefined: it is none. */
export function agentVariable(text: string): string | undefined {
  return /^\$([A-Za-z0-9_]+)$/.exec(text)?.[1];
}

export function isAgent(text: string): boolean {
  return !/^\$(?!\{)/.test(text) || agentVariable(text) !== undefined;
}

function isServiceClass(text: string): boolean {
  const number = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : -1;
  return SERVICE_CLASSES.includes(text.toLowerCase()) || (number >= 0 && number <= 255);
}

function isEscape(text: string): boolean {
  return text === 'none' || text.length === 1 || /^\^[@-\u007f]$/.test(text);
}

function isDomain(text: string): boolean {
  return /^[a-z0-9]([a-z0-9._-]*)$/i.test(text) && !text.includes('..');
}

function isHostPort(text: string): boolean {
  const [, port = ''] = /^(?:\[[^\]]+\]|[^:/[\]]*)[:/](.+)$/.exec(text) ?? [];
  return port === '*' || tcpServicePort(port) !== undefined || /^0*[1-9][0-9]{0,4}$/.test(port);
}

const AGENT_USE = /^(true|false|yes|no|ask|confirm)$/i;

export const IGNORED_VALUES: Readonly<Record<string, Expected>> = {
  addkeystoagent: {
    most: 2,
    takes: (use, [, time]) =>
      time === undefined
        ? AGENT_USE.test(use) || isTime(use)
        : use.toLowerCase() === 'confirm' && isTime(time),
    form: 'write yes, no, ask, confirm, a time such as 1h, or both as in: confirm 1h',
  },
  canonicaldomains: listOr(/^none$/i, isDomain),
  canonicalizepermittedcnames: listOr(/^none$/i, (text) => text === '*' || /:./.test(text)),
  controlpath: single(anything),
  controlpersist: single((text) => /^(yes|no|true|false)$/.test(text) || isTime(text)),
  escapechar: single(isEscape),
  forwardagent: single(isAgent),
  forwardx11timeout: single((text) => text === 'none' || isTime(text)),
  ipqos: { most: 2, takes: (_, values) => values.every(isServiceClass) },
  kbdinteractivedevices: single(anything),
  loglevel: single((text) => LOG_LEVELS.includes(text.toLowerCase())),
  permitremoteopen: listOr(/^(any|none)$/i, isHostPort),
  sendenv: list((text) => !text.includes('=')),
  setenv: list((text) => text.includes('=')),
  streamlocalbindmask: single((text) => /^0*[0-7]{1,3}$/.test(text)),
  syslogfacility: single((text) => FACILITIES.test(text)),
  tag: single(anything),
  tunneldevice: single((text) => DEVICE.test(text)),
  xauthlocation: single(anything),
};
