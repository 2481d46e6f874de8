/**
 * What a login has shown: who answers, why it is trusted, and how the user was let in. Nothing here
 * asks the jump host for anything.
 */
import { TunnelError } from '../errors/errors.ts';
import type { Established, NegotiatedAlgorithms } from '../ssh/established.ts';
import { isPostQuantum, postQuantumAdvice } from '../ssh/postquantum.ts';
import { serverKind } from '../ssh/servers.ts';
import type { CheckName, Finding } from '../system/doctor/diagnosis.ts';

/** Algorithms that OpenSSH has switched off by default, or is about to. */
const OLD = /sha1(?:@|$|-)|^ssh-rsa$|^ssh-dss$|-cbc$|^arcfour|md5|^3des/;
/** With more, a server's default of 6 tries is close (MaxAuthTries). */
const MANY_OFFERS = 4;

/** One finding for each subject, in the order in which a connection is made. */
export function describeLogin(established: Established): Finding[] {
  return [
    hostKey(established),
    algorithms(established),
    authentication(established),
    server(established),
  ];
}

/** The check that an error of dialling belongs to. Rethrows what isn't a TunnelError. */
export function loginFailure(error: unknown): Finding {
  if (!(error instanceof TunnelError)) throw error;
  const { code, message: detail, hint } = error;
  return {
    name: checkOf(code),
    state: 'failed',
    detail,
    code,
    ...(hint !== undefined && { hint }),
  };
}

function checkOf(code: TunnelError['code']): CheckName {
  if (code.startsWith('host-key-')) return 'host-key';
  if (code.startsWith('auth-') || code === 'no-terminal') return 'authentication';
  if (code === 'jumphost-no-common-algorithm' || code === 'algorithms-unknown') return 'algorithms';
  return 'jump-host';
}

function hostKey({ hostKey: found }: Established): Finding {
  const name = 'host-key';
  return found === undefined
    ? { name, state: 'note', detail: 'it was accepted, and it is not known why' }
    : { name, state: 'ok', detail: `${found.key} is trusted because ${found.why}` };
}

function algorithms(established: Established): Finding {
  const name = 'algorithms';
  const { algorithms: found } = established;
  if (found === undefined) return { name, state: 'note', detail: 'not known' };
  const postQuantum = isPostQuantum(found.kex);
  const detail = `${named(found).join(', ')}; ${postQuantum ? '' : 'not '}post-quantum`;
  const old = named(found).filter((algorithm) => OLD.test(algorithm));
  if (old.length > 0)
    return {
      name,
      state: 'warning',
      detail: `${detail}; ${old.join(' and ')} ${old.length === 1 ? 'is' : 'are'} no longer secure`,
      hint: 'have the SSH server on the jump host updated',
    };
  if (postQuantum) return { name, state: 'ok', detail };
  const advice = postQuantumAdvice(established) ?? '';
  return {
    name,
    state: 'note',
    detail,
    hint: `what is recorded today could be read by a quantum computer one day; ${advice}`,
  };
}

function named({ kex, hostKey: signature, cipher, mac }: NegotiatedAlgorithms): string[] {
  return [kex, signature, cipher, ...(mac === undefined ? [] : [mac])];
}

function authentication({ login }: Established): Finding {
  const { user, permitted, accepted, keysOffered } = login;
  const name = 'authentication';
  const how =
    accepted.length === 0 ? 'it asked for nothing' : `it accepted ${accepted.join(', then ')}`;
  const methods = permitted.length === 0 ? '' : `; it permits ${permitted.join(', ')}`;
  const offers =
    keysOffered === 0 ? '' : `; ${keysOffered} ${keysOffered === 1 ? 'key' : 'keys'} offered`;
  const detail = `the jump host let "${user}" in: ${how}${methods}${offers}`;
  if (keysOffered < MANY_OFFERS) return { name, state: 'ok', detail };
  return {
    name,
    state: 'warning',
    detail,
    hint: 'refused offers count as failed logins, and servers shut out whoever has too many: name the key with -i and set IdentitiesOnly',
  };
}

function server({ software, client }: Established): Finding {
  const name = 'server';
  const kind = serverKind(software);
  const said = software === '' ? 'it does not say what it is' : software;
  const known = kind === undefined ? 'not a server that is known here' : kind.name;
  const detail = software.startsWith(kind?.name ?? ' ') ? said : `${said} (${known})`;
  const limits = kind?.limits ?? [];
  if (limits.length === 0)
    return { name, state: 'ok', detail: `${detail}; spoken to by ${client}` };
  return {
    name,
    state: limits.some(({ code }) => code === 'no-forwarding') ? 'failed' : 'note',
    detail: `${detail}: ${limits.map(({ what }) => what).join('; ')}`,
    hint: [...new Set(limits.map(({ hint }) => hint))].join('; '),
  };
}
