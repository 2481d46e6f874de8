/**
 * The targets of a run: those of the configuration, and with --os-cloud the endpoints of a cloud.
 *
 *   before the link   the cloud's files are read: what is wrong is said before a password is asked
 *   the link stands   the catalog is fetched through it, unless the one that is kept is young;
 *                     with --on-demand there is no link yet, and only the one that is kept counts
 *   after that        rules, capture, `ready`: they are complete when the first connection comes
 *
 * A cloud that can't be asked ends the run before anything is captured.
 */
import type { Configuration } from '../config/configuration.ts';
import { NotAllowedError } from '../connect/guarded.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Connector } from '../flow/connector.ts';
import type { Observer } from '../observe/observer.ts';
import type { Prompter } from '../ssh/prompter.ts';

/**
 * Gives the configuration with all its targets: the same object where nothing has to be found out.
 * Rejects with TunnelError `openstack-*`, or with the signal's reason.
 */
export type CompleteTargets = (link: Connector, signal: AbortSignal) => Promise<Configuration>;

/** Rejects with TunnelError `openstack-*` where the cloud isn't configured properly. */
export async function prepareTargets(
  configuration: Configuration,
  observer: Observer,
  prompter: Prompter,
): Promise<CompleteTargets> {
  const { cloud: options } = configuration;
  if (options === undefined) return async () => configuration;
  // The parser of YAML and all else that belongs to clouds is loaded only for them: a tunnel
  // without one starts sooner.
  const { cloudRules, loadConfiguredCloud } = await import('../openstack/targets/cloud.ts');
  const cloud = loadConfiguredCloud(options, observer);
  return async (link, signal) => {
    const connect: Connector['connect'] = (destination, options) =>
      link.connect(destination, options).catch((error: unknown) => {
        // The hint would otherwise be the one for a jump host that doesn't permit it.
        if (!(error instanceof NotAllowedError)) throw error;
        const hint = error.hint === undefined ? {} : { hint: error.hint };
        throw new TunnelError('openstack-not-allowed', error.message, { ...hint, cause: error });
      });
    const { targets, nameTargets } = await cloudRules(cloud, {
      connect,
      observer,
      signal,
      ask: secretsFrom(prompter, signal),
    });
    return {
      ...configuration,
      cloud: undefined,
      targets: [...configuration.targets, ...targets],
      nameTargets: [...configuration.nameTargets, ...nameTargets],
    };
  };
}

/** Asks for a cloud's password or one-time code; undefined: nobody can be asked. */
export function secretsFrom(
  prompter: Prompter,
  signal: AbortSignal,
): ((question: string) => Promise<string>) | undefined {
  return prompter.canAsk() ? (question) => prompter.secret(question, { signal }) : undefined;
}
