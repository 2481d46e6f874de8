/** The environment variables that tell programs to use a proxy. */
import type { Variables } from './protocol.ts';

/** Programs differ in which spelling they read first; both are set to the same. */
const PROXY_VARIABLES = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'] as const;
/** Some clients prefer these to those above. */
const CATCH_ALL_VARIABLES = ['ALL_PROXY', 'all_proxy'] as const;
const EXCEPTION_VARIABLES = ['NO_PROXY', 'no_proxy'] as const;
/** Python's clients would send these to the proxy, where they mean the wrong machine. */
const LOOPBACK = ['localhost', '127.0.0.1', '::1'];

/**
 * The variables that make `proxy` (`http://127.0.0.1:PORT`) the HTTP proxy for everything except
 * what `env` already excepts. The proxy dials anything that isn't a target directly, so it can take
 * all the rest. ALL_PROXY is removed.
 */
export function proxyVariables(env: Readonly<NodeJS.ProcessEnv>, proxy: string): Variables {
  const exceptions = EXCEPTION_VARIABLES.flatMap((name) => (env[name] ?? '').split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '');
  const merged = [...new Set([...exceptions, ...LOOPBACK])].join(',');
  return Object.fromEntries([
    ...CATCH_ALL_VARIABLES.map((name) => [name, undefined] as const),
    ...PROXY_VARIABLES.map((name) => [name, proxy] as const),
    ...EXCEPTION_VARIABLES.map((name) => [name, merged] as const),
  ]);
}

const LOOPBACK_PROXY = /^(?:[a-z0-9+.-]+:\/\/)?(?:[^@/]*@)?(?:localhost|127\.|\[::1\])/i;

/**
 * Whether one of these variables names a proxy at a loopback address, which a command in its own
 * network can't reach.
 */
export function isAnyLoopback(env: Readonly<NodeJS.ProcessEnv>, names: readonly string[]): boolean {
  return names.some((name) => LOOPBACK_PROXY.test(env[name] ?? ''));
}

/** The variables with which the caller has already set a proxy. */
export function proxiesOfCaller(env: Readonly<NodeJS.ProcessEnv>): string[] {
  return [...PROXY_VARIABLES, ...CATCH_ALL_VARIABLES].filter((name) => (env[name] ?? '') !== '');
}
