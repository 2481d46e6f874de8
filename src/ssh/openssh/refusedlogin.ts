/**
 * What a login that failed is called, from what ssh has logged about it (log.ts).
 *
 *   auth-failed    the server has refused something, or wants what there is not
 *   no-terminal    it has refused nothing: only an answer is missing, and ssh could ask nobody
 *
 * The difference decides what follows: a refused login is tried LOGIN_TRIES times, one that only
 * lacks an answer for as long as the program runs (link/redialschedule.ts).
 */
import { resolve } from 'node:path';
import { closeToOthersHint } from '../../system/ownfile.ts';
import { keysOffered } from '../keys/publickey.ts';
import { serverText } from '../servertext.ts';
import type { Diagnosis, StartFailure } from './startfailure.ts';

/** The diagnosis for a login that failed. `match`: the line in which ssh reports it. */
export function authFailed(match: RegExpExecArray, failure: StartFailure): Diagnosis {
  const { at, certificates, lines, offered, unusedKey, refused, refusedSignatures } = failure;
  const keys = keysOffered(offered.length);
  const tried = offered.length === 0 ? keys : `${keys}: ${offered.map(briefly).join(', ')}`;
  const about = lines
    .filter((line) => /UNPROTECTED|too open|signing failed|no such identity/i.test(line))
    .map((line) => sentence(line.replaceAll('@', '').trim()))
    .concat(certificates);
  const accepted = acceptedInPart(lines);
  if (accepted.length > 0)
    about.push(`the server accepted ${accepted.join(' and ')}, and wants more`);
  else if (unusedKey !== undefined)
    about.push('the server would accept the last one, but ssh could not use it');
  if (refusedSignatures.length > 0)
    about.push(
      `the server knows ${refusedSignatures.map(briefly).join(' and ')}, but refused the signed login`,
    );
  const others = refused.filter((method) => method !== 'publickey').map((name) => serverText(name));
  if (others.length > 0) about.push(`the server refused ${others.join(' and ')}`);
  const because = [tried, ...about].join('; ');
  return {
    code: isUnanswered(match.input, failure) ? 'no-terminal' : 'auth-failed',
    message: `${at} did not accept the login: ${sentence(match.input)}; ${because}`,
    hint: authHint(match.input, failure),
  };
}

/** The methods that the server has accepted, of those that it wants together. */
function acceptedInPart(lines: readonly string[]): string[] {
  return lines
    .map((line) => /^Authenticated using "([^"]{1,40})" with partial success/.exec(line)?.[1])
    .filter((method) => method !== undefined)
    .map((method) => serverText(method));
}

/**
 * The server has refused nothing: a question was left, and nobody could be asked. `refusal`: the
 * line that has the methods which the server still offers.
 */
function isUnanswered(refusal: string, { unasked, refused, unusedKey }: StartFailure): boolean {
  if (!unasked || refused.length > 0) return false;
  const methods = /Permission denied \(([^)]*)\)/.exec(refusal)?.[1]?.split(',') ?? [];
  // The passphrase of a key is missing, or an answer to the server.
  return (
    unusedKey !== undefined ||
    methods.includes('keyboard-interactive') ||
    methods.includes('password')
  );
}

/** Without its final full stop, so another one can follow. */
function sentence(text: string): string {
  return serverText(text).replace(/[.!]$/, '');
}

function briefly(key: string): string {
  return serverText(key, 160);
}

/** `refusal`: the line in which ssh reports the refusal. */
function authHint(refusal: string, failure: StartFailure): string {
  const { lines, certificates, unusedKey, refusedSignatures, keyFiles } = failure;
  const open = lines
    .map((line) => /^Permissions \d+ for '(.+)' are too open/.exec(line)?.[1])
    .find((path) => path !== undefined && keyFiles.has(resolve(path)));
  if (open !== undefined) return closeToOthersHint(open, '-i');
  if (certificates.length > 0)
    return "get a new certificate signed, and check this machine's clock";
  if (acceptedInPart(lines).length > 0)
    return 'run this at a terminal or set SSH_ASKPASS, to be asked for the rest; or ask for an account that this lets in (AuthenticationMethods in sshd_config)';
  if (unusedKey !== undefined)
    return 'if it has a passphrase, run this at a terminal, set SSH_ASKPASS, or add the key to ssh-agent (ssh-add)';
  if (refusedSignatures.length > 0)
    return 'the key is right, but this user may not log in: the log of sshd on the jump host says why (PermitRootLogin, an expired account)';
  if (/Too many authentication failures/.test(refusal))
    return 'name the right key with -i and set -o IdentitiesOnly=yes, so that no others are offered; or remove keys with ssh-add -d';
  return 'check the user, and that one of the keys (-i, ssh-add -l) is in authorized_keys on the jump host (ssh-copy-id)';
}
