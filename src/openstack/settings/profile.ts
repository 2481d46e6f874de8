/**
 * The profile that a cloud names, with the settings that all customers of a provider share. It is
 * looked for in clouds-public.yaml, and then among the bundled ones (vendors.ts). openstacksdk
 * fetches a profile that is a URL; here nothing is fetched, and the error says which file to write.
 */
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { cloudsOf, findFile, isMapping, type Raw, type Surroundings } from './files.ts';
import { withUnderscores } from './merge.ts';
import { VENDOR_PROFILES } from './vendors.ts';

export interface FoundProfile {
  /** Empty: the cloud names none, or one that nobody knows. */
  readonly profile: Raw;
  /** Its name, if it is one of vendors.ts. */
  readonly builtIn: string | undefined;
}

const NO_PROFILE: FoundProfile = { profile: {}, builtIn: undefined };

/**
 * Throws TunnelError `openstack-config`: the profile has no settings,
 * would have to be fetched, or is of a provider that has closed.
 */
export function profileOf(
  cloud: Raw,
  name: string,
  environmentName: string,
  surroundings: Surroundings,
  warn: (message: string) => void,
): FoundProfile {
  const wanted = cloud['profile'] ?? cloud['cloud'];
  if (isMapping(wanted) || Array.isArray(wanted)) {
    throw new TunnelError(
      'openstack-config',
      `the profile of the cloud ${quoted(name)} is a ${isMapping(wanted) ? 'mapping' : 'list'}`,
      { hint: 'write its name, and its settings into clouds-public.yaml below "public-clouds:"' },
    );
  }
  if (typeof wanted !== 'string' || wanted === '' || wanted === environmentName) return NO_PROFILE;
  const what = `the profile ${quoted(wanted)} of the cloud ${quoted(name)}`;
  const file = findFile('clouds-public', surroundings, warn);
  const own = cloudsOf(file, 'public-clouds');
  const found = Object.hasOwn(own, wanted)
    ? own[wanted]
    : Object.hasOwn(VENDOR_PROFILES, wanted)
      ? VENDOR_PROFILES[wanted]
      : undefined;
  if (found === undefined) {
    if (URL.canParse(wanted) && new URL(wanted).host !== '') throw unfetched(what, wanted, wanted);
    warn(`${what} is neither in a clouds-public.yaml nor among those that are built in`);
    return NO_PROFILE;
  }
  if (!isMapping(found)) {
    const place = file?.path ?? 'clouds-public.yaml';
    throw new TunnelError('openstack-config', `${place}: ${what} has no settings`, {
      hint: 'indent its settings below its name',
    });
  }
  const profile = withUnderscores(found);
  const builtIn = Object.hasOwn(own, wanted) ? undefined : wanted;
  // Of a file of the user's, the status says nothing.
  if (builtIn === undefined) return { profile, builtIn };
  if (profile['status'] === 'shutdown') {
    throw new TunnelError('openstack-config', `${what} is of a cloud that no longer exists`, {
      hint: `${String(profile['message'] ?? '')}; if it does exist, write it into clouds-public.yaml`,
    });
  }
  if (profile['status'] === 'deprecated')
    warn(`${what} is deprecated: ${String(profile['message'] ?? '')}`);
  const remote = profile['profile'];
  if (typeof remote === 'string') throw unfetched(what, remote, wanted);
  return { profile, builtIn };
}

function unfetched(what: string, address: string, name: string): TunnelError {
  return new TunnelError('openstack-config', `${what} would have to be fetched from ${address}`, {
    hint: `get ${new URL('/.well-known/openstack/api', address).href} and write what it has as "profile" into ~/.config/openstack/clouds-public.yaml, below "public-clouds:" and "${name}:"`,
  });
}
