/** What the SSH client that was chosen doesn't do, although the user has asked for it. */
import { hopsOf } from '../ssh/hops.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { SshSettings } from '../ssh/settings.ts';
import type { TransportChoice } from './choose.ts';

/** `jumpHosts`: the settings of each -r. A sentence for each warning. */
export function ignoredBy(
  client: TransportChoice['kind'],
  { windows }: Pick<SshOptions, 'windows'>,
  jumpHosts: readonly SshSettings[],
): readonly string[] {
  if (client === 'ssh2') {
    const missing = jumpHosts.flatMap((host) => hopsOf(host).flatMap((hop) => hop.onlyOpenssh));
    if (missing.length === 0) return [];
    const all = [...new Set(missing)].join(', ');
    return [`the embedded SSH client does not support ${all}: only the system's ssh does`];
  }
  const secrets = jumpHosts.flatMap(({ authentication: { passwordFile, passphraseFile } }) =>
    [passwordFile, passphraseFile].filter((path) => path !== undefined),
  );
  return [
    ...(windows.maxWindow === undefined && windows.budget === undefined
      ? []
      : ['--max-window and --window-budget are ignored: ssh chooses its own windows']),
    ...[...new Set(secrets)].map((path) => `${path} is not used: ssh asks for it itself`),
  ];
}
