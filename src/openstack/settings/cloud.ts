/**
 * The settings of one cloud and one of its regions, as its clients see them: clouds.yaml and OS_*
 * variables, merged.
 */
import type { Question, Secret } from './secret.ts';

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

/** One way to prove who the user is (Identity API v3, "Authentication and token management"). */
export type Factor =
  | { readonly kind: 'password'; readonly user: Named; readonly password: Secret | Question }
  /** A one-time code (TOTP). */
  | { readonly kind: 'totp'; readonly user: Named; readonly passcode: Secret | Question }
  | { readonly kind: 'token'; readonly token: Secret }
  | {
      readonly kind: 'application-credential';
      readonly id: string | undefined;
      /** If it is given by name: the name; `user` is then its owner. */
      readonly name: string | undefined;
      readonly user: Named;
      readonly secret: Secret;
    };

/** How the user proves who they are: one way, or several together, each once. */
export type Method = Factor | { readonly kind: 'multifactor'; readonly factors: readonly Factor[] };

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
  /** undefined only for a cloud without Keystone. */
  readonly authUrl: URL | undefined;
  /**
   * For `none`, `http_basic` and `admin_token`: clients use one endpoint, or only the overrides
   * (`endpoint` is undefined), and there is no catalog. undefined: all other types.
   */
  readonly withoutKeystone?: { readonly endpoint: URL | undefined };
  /** As configured: `password`, `v3applicationcredential`, ... */
  readonly authType: string;
  /**
   * Returns the credentials, or throws a TunnelError that says what is missing. A missing password
   * or one-time code is a question. Not called with --os-catalog off or --os-catalog-file, or
   * without Keystone.
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
