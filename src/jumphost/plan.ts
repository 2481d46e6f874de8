/**
 * What a jump host is to be: read from the command line, and rendered by one file for each format.
 */
import type { Prefix } from '../net/prefix.ts';
import type { PermittedDestination } from './permitted.ts';
import type { SshdVersion } from './versions.ts';

/** Whoever is in it may forward, and nothing else. */
export const GROUP = 'tunnel';

/** Ends at once, with a failure. */
export const FORCED_COMMAND = '/bin/false';

/** --keys-from: an HTTP address, or a command that prints keys. */
export type KeySource =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'command'; readonly command: string };

/** --mfa: the modules of PAM that check codes by time. Debian has both. */
export const MFA_MODULES = ['google-authenticator', 'oath'] as const;
export type MfaModule = (typeof MFA_MODULES)[number];

/** --expose: how users reach it from outside of the cluster. */
export const EXPOSURES = ['loadbalancer', 'nodeport', 'tcp-services'] as const;
export type Exposure = (typeof EXPOSURES)[number];

/** An end that pods connect to, as a NetworkPolicy sees it. */
export interface KeySourceEnd {
  /** undefined: a name, which no NetworkPolicy knows. */
  readonly prefix: Prefix | undefined;
  readonly port: number;
  /** `HOST:PORT` in canonical form, for a comment. */
  readonly text: string;
}

/** What only the format `kubernetes` has. Names are such of RFC 1123. */
export interface KubernetesPlan {
  readonly image: string;
  readonly namespace: string;
  /** At least 2, and not more than maxReplicas. */
  readonly replicas: number;
  readonly maxReplicas: number;
  readonly expose: Exposure;
  readonly dnsName: string | undefined;
  /** What the script of --keys-from connects to. */
  readonly keySources: readonly KeySourceEnd[];
  /** Where an ingress controller of nginx reads the ports of TCP from. */
  readonly ingressConfigMap: { readonly namespace: string; readonly name: string };
}

/** Of a host key: `ssh_host_KIND_key`. */
export type HostKeyKind = 'ed25519' | 'rsa';

/** A host key that is not made on the machine. */
export interface GivenHostKey {
  readonly kind: HostKeyKind;
  /** The whole file, without a passphrase. */
  readonly privateKey: string;
  /** `TYPE BASE64` */
  readonly publicKey: string;
  /** `SHA256:...` */
  readonly fingerprint: string;
  readonly certificate:
    | {
        /** `TYPE BASE64` */
        readonly line: string;
        /** Empty: it is good for every name. */
        readonly principals: readonly string[];
        /** undefined: it has no end. */
        readonly until: Date | undefined;
      }
    | undefined;
}

/** cloud-init: what a machine has that is made for this. */
export interface CloudInitPlan {
  /** The canonical name or address by which users reach it; undefined: nobody knows it yet. */
  readonly address: string | undefined;
  /** undefined: it is made on the machine. */
  readonly hostKey: GivenHostKey | undefined;
  /** `TYPE BASE64` of who signs the host's certificate; undefined: it has none. */
  readonly hostCa: string | undefined;
}

export interface JumpHostPlan {
  /** The login of its users. */
  readonly user: string;
  /** The port that users see. */
  readonly port: number;
  readonly version: SshdVersion;
  /** At least one. */
  readonly permitted: readonly PermittedDestination[];
  /** Public keys as one line each, `ssh-ed25519 AAAA... comment`. */
  readonly keys: readonly string[];
  /** As `from=` takes them. Empty: the keys are good from everywhere. */
  readonly from: readonly string[];
  /** Who checks codes by time besides the key; undefined: nobody is asked for one. */
  readonly mfa: MfaModule | undefined;
  /** Connections come from a proxy: all users have one address there. */
  readonly behindProxy: boolean;
  /** Where sshd looks for keys at each login. Empty: only authorized_keys has them. */
  readonly keysFrom: readonly KeySource[];
  /** Of the format `kubernetes`. */
  readonly kubernetes?: KubernetesPlan;
  readonly cloudInit: CloudInitPlan;
  /** For the format of that name. */
  readonly terraform: TerraformPlan;
}

/** Names of networks in OpenStack. */
export interface TerraformPlan {
  /** A public network. undefined: the instance has a floating address. */
  readonly network: string | undefined;
  /** Where that comes from; undefined: whoever applies it says so. */
  readonly floatingPool: string | undefined;
  /** undefined: the instance has no second port. */
  readonly privateNetwork: string | undefined;
}

/** One file of a format. */
export interface RenderedFile {
  /** Below the output directory. */
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

/** Lines that are comments in most formats. */
export function comment(...lines: readonly string[]): string {
  return lines.map((line) => (line === '' ? '#' : `# ${line}`)).join('\n');
}
