/** The variables by which programs are told of a proxy, for a command that can't have a network of its own. */

/** Programs differ in which of the two spellings they read first; both get the same. */
const PROXY_VARIABLES = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'] as const;
const EXCEPTION_VARIABLES = ['NO_PROXY', 'no_proxy'] as const;
/** Python's clients would send these to the proxy, where they would mean the wrong machine. */
const LOOPBACK = ['localhost', '127.0.0.1', '::1'];

/**
 * `env` with `proxy` (`http://127.0.0.1:PORT`) as the HTTP proxy of everything but what the caller has excepted already. The
 * proxy dials what is no target directly, so it may have all the rest. ALL_PROXY goes: some clients prefer it.
 */
export function withProxy(env: Readonly<NodeJS.ProcessEnv>, proxy: string): NodeJS.ProcessEnv {
  const exceptions = EXCEPTION_VARIABLES.flatMap((name) => (env[name] ?? '').split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '');
  const merged = [...new Set([...exceptions, ...LOOPBACK])].join(',');
  const result: NodeJS.ProcessEnv = { ...env };
  delete result['ALL_PROXY'];
  delete result['all_proxy'];
  for (const name of PROXY_VARIABLES) result[name] = proxy;
  for (const name of EXCEPTION_VARIABLES) result[name] = merged;
  return result;
}
