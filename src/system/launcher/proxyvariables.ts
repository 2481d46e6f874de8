/** The variables by which programs are told of a proxy. */
import type { Variables } from './protocol.ts';

/** Programs differ in which of the two spellings they read first; both get the same. */
const PROXY_VARIABLES = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'] as const;
/** Some clients prefer them to those above. */
const CATCH_ALL_VARIABLES = ['ALL_PROXY', 'all_proxy'] as const;
const EXCEPTION_VARIABLES = ['NO_PROXY', 'no_proxy'] as const;
/** Python's clients would send these to the proxy, where they would mean the wrong machine. */
const LOOPBACK = ['localhost', '127.0.0.1', '::1'];

/**
 * What makes `proxy` (`http://127.0.0.1:PORT`) the HTTP proxy of everything but what the caller has
 * excepted in `env` already. The proxy dials what is no target directly, so it may have all the
 * rest. ALL_PROXY goes.
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
 * Whether one of these variables names a proxy at a loopback address: a command in a network of its
 * own doesn't reach it.
 */
export function isAnyLoopback(env: Readonly<NodeJS.ProcessEnv>, names: readonly string[]): boolean {
  return names.some((name) => LOOPBACK_PROXY.test(env[name] ?? ''));
}

/** Those by which the caller has told programs of a proxy already. */
export function proxiesOfCaller(env: Readonly<NodeJS.ProcessEnv>): string[] {
  return [...PROXY_VARIABLES, ...CATCH_ALL_VARIABLES].filter((name) => (env[name] ?? '') !== '');
}
