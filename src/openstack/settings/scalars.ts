/**
 * Values of scalars without quotes, as PyYAML's safe loader has them (YAML 1.1, with its own
 * regular expressions), and as openstacksdk writes them as text afterwards.
 *
 *   written        value        as text        because
 *   0089123        text         0089123        8 and 9 are not octal
 *   0123           octal        83
 *   1e3            text         1e3            a float has a dot
 *   1.50           float        1.5
 *   12:30          base 60      750
 *   y              text         y              yes, no, on, off, true and false are booleans
 *   2021-01-01     date         -              can't be sent to a cloud
 *
 * Source: yaml/resolver.py and yaml/constructor.py of PyYAML 6.0, `normalize_keys` of openstacksdk.
 */

/** A number, a date, or a date with a time, which the user may have meant as text. */
export class Unquoted {
  readonly kind: 'number' | 'date' | 'time';
  /** As written. */
  readonly written: string;
  /** As openstacksdk has it: Python's `str()`. Of a time it is as written. */
  readonly text: string;

  constructor(kind: Unquoted['kind'], written: string, text: string) {
    this.kind = kind;
    this.written = written;
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

export type ScalarValue = string | boolean | null | Unquoted;

const NULL = /^(?:~|null|Null|NULL|)$/;
const BOOLEAN = /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/;
const TRUE = /^(?:yes|true|on)$/i;
const ANY_BOOLEAN = /^(?:yes|no|true|false|on|off)$/i;
const FLOAT =
  /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/;
const INTEGER =
  /^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$/;
const TIMESTAMP =
  /^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$/;
const JSON_INTEGER = /^-?[0-9]+$/;
/** Python refuses to make a number from more. */
const MAX_DIGITS = 4300;

/**
 * The value of a scalar without quotes. undefined: PyYAML refuses it, such as `=` and `0x_`.
 */
export function plainScalar(written: string): ScalarValue | undefined {
  if (NULL.test(written)) return null;
  if (BOOLEAN.test(written)) return TRUE.test(written);
  if (FLOAT.test(written)) return float(written);
  if (INTEGER.test(written)) return integer(written);
  if (TIMESTAMP.test(written)) return timestamp(written);
  return written === '=' || written === '<<' ? undefined : written;
}

/**
 * The value of a scalar with one of YAML's own tags, such as `!!str`; `tag` is what follows the
 * exclamation marks. undefined: PyYAML refuses it, or makes of it what isn't text.
 */
export function taggedScalar(tag: string, written: string): ScalarValue | undefined {
  switch (tag) {
    case 'str':
      return written;
    case 'null':
      return null;
    case 'bool':
      return ANY_BOOLEAN.test(written) ? TRUE.test(written) : undefined;
    case 'int':
      return INTEGER.test(written) ? integer(written) : undefined;
    case 'float':
      return FLOAT.test(written) || INTEGER.test(written) ? float(written) : undefined;
    case 'timestamp':
      return TIMESTAMP.test(written) ? timestamp(written) : undefined;
    default:
      return undefined;
  }
}

/** undefined: there is no such day or time. */
function timestamp(written: string): Unquoted | undefined {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] =
    written.match(/[0-9]+/g)?.map(Number) ?? [];
  const [, zone = 0] = /[-+]([0-9]{1,2})(?::[0-9]{2})?$/.exec(written.slice(11))?.map(Number) ?? [];
  const last = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > last) return undefined;
  if (/^[-0-9]+$/.test(written)) return new Unquoted('date', written, written);
  if (hour > 23 || minute > 59 || second > 59 || zone > 23) return undefined;
  return new Unquoted('time', written, written);
}

/** A number of a JSON file, as Python's json has it. */
export function jsonNumber(written: string): Unquoted {
  const text = JSON_INTEGER.test(written)
    ? BigInt(written).toString()
    : pythonFloat(Number(written));
  return new Unquoted('number', written, text);
}

function integer(written: string): Unquoted | undefined {
  const negative = written.startsWith('-');
  const digits = written.replaceAll('_', '').replace(/^[-+]/, '');
  const value = digits.length > MAX_DIGITS ? undefined : magnitude(digits);
  if (value === undefined) return undefined;
  return new Unquoted('number', written, (negative ? -value : value).toString());
}

function magnitude(digits: string): bigint | undefined {
  if (/^0[bx]$/.test(digits)) return undefined;
  if (/^0[0-7]/.test(digits)) return BigInt(`0o${digits}`);
  if (!digits.includes(':')) return BigInt(digits);
  return digits.split(':').reduce((value, part) => value * 60n + BigInt(part), 0n);
}

function float(written: string): Unquoted {
  const sign = written.startsWith('-') ? -1 : 1;
  const digits = written.replaceAll('_', '').replace(/^[-+]/, '').toLowerCase();
  return new Unquoted('number', written, pythonFloat(sign * floatMagnitude(digits)));
}

function floatMagnitude(digits: string): number {
  if (digits === '.inf') return Number.POSITIVE_INFINITY;
  if (digits === '.nan') return Number.NaN;
  // From the last to the first, as PyYAML adds them up: sums of floats depend on the order.
  return digits
    .split(':')
    .reverse()
    .reduce((sum, part, place) => sum + Number(part) * 60 ** place, 0);
}

/** Python's `str()` of a float. Both languages have the shortest digits, but other forms. */
function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const [mantissa = '', power = ''] = Math.abs(value).toExponential().split('e');
  const digits = mantissa.replace('.', '');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length === 1 ? '' : `.${digits.slice(1)}`;
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${digits.slice(0, 1)}${fraction}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
}
