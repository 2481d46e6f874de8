/** Where a jump host's keys come from, and from where they are good: --keys-from, --from. */
import { UsageError } from '../errors/errors.ts';
import type { KeySource } from '../jumphost/plan.ts';
import { ADDRESS_BITS } from '../net/address.ts';
import { quoted } from '../net/notation.ts';
import { formatPlace, type Place, readAt } from '../net/place.ts';
import { parsePrefix } from '../net/prefix.ts';

/** An http(s) address, or a command line for sh with the whole path of its program. */
export function readKeySource(text: string, place: Place): KeySource {
  if (/^https?:/i.test(text)) return { kind: 'url', url: readAddress(text, place) };
  if (/^\/[^\p{Cc}]*$/u.test(text)) return { kind: 'command', command: text };
  throw new UsageError(
    `${formatPlace(place)}: ${quoted(text)} is neither an http(s) address nor a command with its whole path`,
    { hint: 'write it as in: --keys-from https://keys.example.com/authorized_keys' },
  );
}

function readAddress(text: string, place: Place): string {
  const at = `${formatPlace(place)}: ${quoted(text)}`;
  if (!URL.canParse(text) || !/^https?:\/\/[^\s\p{Cc}'"\\$`]+$/iu.test(text)) {
    throw new UsageError(`${at} is not an http(s) address`, {
      hint: 'write it as in: --keys-from https://keys.example.com/authorized_keys',
    });
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new UsageError(`${at} has a password in it, and everybody can read the rendered script`, {
      hint: 'give a command instead, which reads the password from a file of its own',
    });
  }
  if (url.hash !== '') {
    throw new UsageError(`${at} has a "#", which no server is told`, { hint: 'leave it out' });
  }
  return url.href;
}

/**
 * One pattern of `from=` (sshd(8)): an address, a prefix, or an address with `*` and `?`; with `!`
 * for those that are left out. Names are refused: sshd knows clients by address.
 */
export function readFromPattern(text: string, place: Place): string {
  const not = text.startsWith('!') ? '!' : '';
  const pattern = text.slice(not.length);
  const form = 'write an address, a prefix or a pattern, as in: --from 192.0.2.0/24';
  if (/^[0-9a-f:.*?]*[*?][0-9a-f:.*?]*$/i.test(pattern)) return not + pattern.toLowerCase();
  if (!/^[0-9a-f:./]+$/i.test(pattern)) {
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(text)} is no address, and sshd knows clients by address only`,
      { hint: form },
    );
  }
  const { prefix } = readAt(place, pattern, form, parsePrefix);
  const whole = prefix.length === ADDRESS_BITS[prefix.family];
  return not + (whole ? prefix.address : `${prefix.address}/${prefix.length}`);
}
