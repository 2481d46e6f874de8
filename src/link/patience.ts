/** Shorter times for one dial than the settings give. */
import type { Patience } from '../ssh/dial/addresses.ts';
import type { SshSettings } from '../ssh/settings.ts';

/** Also for the hops: this machine connects to the first of them. */
export function patientSettings(settings: SshSettings, patience: Patience): SshSettings {
  const { proxy } = settings;
  return {
    ...settings,
    connectTimeout: patience(settings.connectTimeout),
    proxy:
      proxy.kind === 'jump'
        ? { ...proxy, hops: proxy.hops.map((hop) => patientSettings(hop, patience)) }
        : proxy,
  };
}
