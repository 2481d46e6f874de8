/**
 * The settings of one cloud and one of its regions, as its clients see them: clouds.yaml and OS_*
 * variables, merged.
 */
import type { Secret } from './secret.ts';

/** Interfaces of a service's endpoints, without the suffix `URL` that older configurations have. */
export const INTERFACES = ['public', 'internal', 'admin'] as const;
export type Interface = (typeof INTERFACES)[number];

/** A user, project or domain by id, or by name inside a domain. */
export interface Named {
  readonly id?: string;
  readonly name?: string;
  readonly domainId?: string;
  readonly domainName?: string;
}

/** How the user proves who they are (Identity API v3, "Authentication and token management"). */
export type Method =
  | { readonly kind: 'password'; readonly user: Named; readonly password: Secret }
  | { readonly kind: 'token'; readonly token: Secret }
  | {
      readonly kind: 'application-credential';
      readonly id: string | undefined;
      /** If it is given by name: the name; `user` is then its owner. */
      readonly name: string | undefined;
      readonly user: Named;
      readonly secret: Secret;
    };

/** What the token is for. An application credential already has a scope. */
export type Scope =
  | { readonly kind: 'none' }
  | { readonly kind: 'project'; readonly project: Named }
  | { readonly kind: 'domain'; readonly domain: Named }
  | { readonly kind: 'system' }
  | { readonly kind: 'trust'; readonly id: string };

export interface Authentication {
  readonly method: Method;
  readonly scope: Scope;
}

/** How the cloud's servers are verified, and the client's certificate. Paths, `~` expanded. */
export interface TlsSettings {
  /** undefined: the system's authorities. */
  readonly caFile: string | undefined;
  /**
   * false: the user has switched verification off for this cloud (`verify: false`, `insecure:
   * true`).
   */
  readonly verify: boolean;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

export interface Cloud {
  /** As in clouds.yaml; `envvars` for the OS_* variables. */
  readonly name: string;
  /** The file that has it, or `the environment`. */
  readonly source: string;
  readonly authUrl: URL;
  /** As configured: `password`, `v3applicationcredential`, ... */
  readonly authType: string;
  /**
   * Returns the credentials, or throws a TunnelError that says what is missing. Not called with
   * --os-catalog off or --os-catalog-file.
   */
  authentication(): Authentication;
  readonly region: string | undefined;
  /** In order of preference; at least one. */
  readonly interfaces: readonly Interface[];
  readonly tls: TlsSettings;
  /**
   * `<service>_endpoint_override`, `<service>_interface`, `<service>_region_name`, by service type
   * with `-`.
   */
  readonly services: ReadonlyMap<string, ServiceSettings>;
  /** Settings that may not mean what they seem to mean, one sentence each. */
  readonly warnings: readonly string[];
}

export interface ServiceSettings {
  readonly endpoint?: URL;
  readonly interfaces?: readonly Interface[];
  readonly region?: string;
}
