/**
 * Import this before ssh2: then its native ciphers can't be loaded, as on machines where they could
 * not be built.
 */
import { createRequire, Module } from 'node:module';

type Loader = (module: unknown, path: string) => void;
const { _extensions: loaders } = Module as unknown as {
  readonly _extensions: Record<string, Loader>;
};
const load = loaders['.node'];

loaders['.node'] = (module, path) => {
  if (path.endsWith('sshcrypto.node')) throw new Error('not built');
  load?.(module, path);
};

/** ssh2's own flag, so that the test can check that this worked. */
export const { bindingAvailable } = createRequire(import.meta.url)(
  'ssh2/lib/protocol/crypto.js',
) as {
  readonly bindingAvailable: boolean;
};
