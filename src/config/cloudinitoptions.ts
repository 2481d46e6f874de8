/**
 * Options of `tunnel jumphost cloud-init`: the new machine's address, and what its users know it
 * by.
 *
 *   none                                        a key is made on the machine; users pin it
 *   --host-ca                                   ... and is signed after the first boot
 *   --host-private-key                          it is known before; users pin it
 *   --host-private-key, --host-certificate      ... and who trusts the authority needs no pin
 */
import { UsageError } from '../errors/errors.ts';
import { keyTypeOf } from '../jumphost/keytypes.ts';
import type { CloudInitPlan, GivenHostKey, HostKeyKind } from '../jumphost/plan.ts';
import { canonicalHost } from '../net/name.ts';
import { quoted } from '../net/notation.ts';
import { fileName, filePrefix, formatPlace, type Place, readAt } from '../net/place.ts';
import { type Certificate, parseCertificate } from '../ssh/keys/certificate.ts';
import { inspectKeyFile } from '../ssh/keys/keyfile.ts';
import { describeKey, fingerprint, type PublicKey, parsePublicKey } from '../ssh/keys/publickey.ts';
import { isPrivateKey, readKeyText } from './keyfile.ts';
import { type Given, type GivenOptions, once, readOptions } from './option.ts';

/** What HostKeyAlgorithms of the drop-in has. */
const KINDS: ReadonlyMap<string, HostKeyKind> = new Map([
  ['ssh-ed25519', 'ed25519'],
  ['ssh-rsa', 'rsa'],
]);
const MAKE_KEY = "make one, as in: ssh-keygen -t ed25519 -N '' -f host_key";

const ADDRESS_FORM = 'write it alone, as in: --address jump.example.com; its port is --port';

export const CLOUD_INIT_OPTIONS = {
  heading: 'New machine:',
  options: {
    address: once(
      '--address <host>',
      'the name or address by which users will reach it',
      (text, place) => readAt(place, text, ADDRESS_FORM, canonicalHost),
    ),
    hostPrivateKey: once(
      '--host-private-key <file>',
      'its private host key (default: one is made on the machine)',
      readHostKey,
    ),
    hostCertificate: once(
      '--host-certificate <file>',
      'the certificate of that key',
      readCertificateFile,
    ),
    hostCa: once(
      '--host-ca <file>',
      'the public key of the authority that signs host certificates',
      readAuthority,
    ),
  },
} as const;

type HostKeyFile = Omit<GivenHostKey, 'certificate'> & { readonly key: PublicKey };

/** Throws UsageError for what changes nothing, and for keys that don't belong together. */
export function readCloudInitPlan(options: GivenOptions, now = new Date()): CloudInitPlan {
  const given = readOptions(CLOUD_INIT_OPTIONS, options);
  const { address, hostPrivateKey, hostCertificate, hostCa } = given;
  if (hostCertificate !== undefined && hostPrivateKey === undefined) {
    throw new UsageError(
      `${filePrefix(hostCertificate.place)}--host-certificate changes nothing without --host-private-key`,
      {
        hint: 'give both; for a key that is made on the machine, --host-ca tells how it is signed',
      },
    );
  }
  if (hostPrivateKey !== undefined && hostCa !== undefined && hostCertificate === undefined) {
    throw new UsageError(
      `${filePrefix(hostCa.place)}--host-ca changes nothing for a given key without its certificate`,
      {
        hint: 'sign it, as in: ssh-keygen -s CA -h -I jump -n ADDRESS host_key.pub, and give --host-certificate',
      },
    );
  }
  if (hostPrivateKey === undefined)
    return { address: address?.value, hostKey: undefined, hostCa: hostCa && line(hostCa.value) };
  const { key, ...hostKey } = hostPrivateKey.value;
  if (hostCertificate === undefined)
    return {
      address: address?.value,
      hostKey: { ...hostKey, certificate: undefined },
      hostCa: undefined,
    };
  const { certificate, text } = hostCertificate.value;
  checkCertificate(hostCertificate, key, hostCa?.value, address?.value, now);
  const { principals, until } = certificate;
  return {
    address: address?.value,
    hostKey: { ...hostKey, certificate: { line: text, principals, until } },
    hostCa: line(certificate.authority),
  };
}

interface CertificateFile {
  readonly certificate: Certificate;
  /** Its line. */
  readonly text: string;
}

function checkCertificate(
  { value: { certificate }, place }: Given<CertificateFile>,
  key: PublicKey,
  authority: PublicKey | undefined,
  address: string | undefined,
  now: Date,
): void {
  const at = formatPlace(place);
  const { ofHost, principals, from, until } = certificate;
  const sign = 'sign it again, as in: ssh-keygen -s CA -h -I jump -n ADDRESS -V +52w host_key.pub';
  if (!ofHost) throw new UsageError(`${at}: it is a user's certificate, no host's`, { hint: sign });
  if (!certificate.key.blob.equals(key.blob)) {
    throw new UsageError(
      `${at}: it is for another key (${describeKey(certificate.key)}) than --host-private-key (${describeKey(key)})`,
      { hint: 'give the certificate that was made of this key' },
    );
  }
  if (authority !== undefined && !certificate.authority.blob.equals(authority.blob)) {
    throw new UsageError(
      `${at}: it is signed by another authority (${describeKey(certificate.authority)}) than --host-ca (${describeKey(authority)})`,
      { hint: 'give the public key of the authority that has signed it, or leave --host-ca out' },
    );
  }
  if (until !== undefined && until <= now)
    throw new UsageError(`${at}: it has expired on ${until.toISOString()}`, { hint: sign });
  if (from !== undefined && from > now)
    throw new UsageError(`${at}: it is not valid before ${from.toISOString()}`, { hint: sign });
  if (address === undefined || principals.length === 0 || principals.includes(address)) return;
  throw new UsageError(
    `${at}: it is for ${principals.map(quoted).join(', ')}, not for --address ${quoted(address)}`,
    { hint: `users write ${address}, and would not believe it; ${sign}` },
  );
}

function readHostKey(file: string, place: Place): HostKeyFile {
  const at = `${formatPlace(place)}: ${fileName(file)}`;
  const text = readKeyText(file, formatPlace(place));
  const found = inspectKeyFile(text, undefined);
  if (found === undefined || found.format === 'public') {
    throw new UsageError(`${at} is no private key that sshd could read`, { hint: MAKE_KEY });
  }
  if (found.encrypted) {
    throw new UsageError(`${at} is protected by a passphrase, which nobody could type at boot`, {
      hint: `${MAKE_KEY}; ssh-keygen -p -N '' -f FILE takes the passphrase of a copy away`,
    });
  }
  const { publicKey } = found;
  const kind = KINDS.get(publicKey?.type ?? '');
  const base64 = publicKey?.blob.toString('base64') ?? '';
  if (publicKey === undefined || kind === undefined || !keyTypeOf(publicKey.type, base64)) {
    throw new UsageError(
      `${at} is neither an Ed25519 key nor an RSA key of 2048 bits, and the rendered sshd offers no other`,
      { hint: MAKE_KEY },
    );
  }
  const [block = ''] = /-----BEGIN ([A-Z ]+)-----[\s\S]*-----END \1-----/.exec(text) ?? [];
  // sshd reads this before 9.6 only where OpenSSL has made it so.
  if (kind === 'ed25519' && found.format === 'pem')
    throw new UsageError(`${at} is an Ed25519 key in a form that ssh-keygen doesn't make`, {
      hint: MAKE_KEY,
    });
  return {
    kind,
    privateKey: `${block.replaceAll('\r', '')}\n`,
    publicKey: line(publicKey),
    fingerprint: fingerprint(publicKey.blob),
    key: publicKey,
  };
}

function readCertificateFile(file: string, place: Place): CertificateFile {
  const at = formatPlace(place);
  const text = readKeyText(file, at).trim();
  const certificate = text.includes('\n') ? undefined : parseCertificate(text);
  if (certificate === undefined) {
    throw new UsageError(`${at}: ${fileName(file)} is no certificate`, {
      hint: 'give the file ...-cert.pub that ssh-keygen -s has made',
    });
  }
  const [type = '', base64 = ''] = text.split(/\s+/);
  return { certificate, text: `${type} ${base64}` };
}

function readAuthority(file: string, place: Place): PublicKey {
  const at = formatPlace(place);
  const text = readKeyText(file, at).trim();
  if (isPrivateKey(text)) {
    throw new UsageError(`${at}: ${fileName(file)} is a private key`, {
      hint: 'give the public one (.pub): the private key of an authority goes nowhere',
    });
  }
  const key = text.includes('\n') ? undefined : parsePublicKey(text);
  if (key !== undefined && keyTypeOf(key.type, key.blob.toString('base64')) !== undefined)
    return { type: key.type, blob: key.blob };
  throw new UsageError(`${at}: ${fileName(file)} is no public key`, {
    hint: 'give the .pub file of the authority, with one line: ssh-ed25519 AAAA...',
  });
}

/** Without a comment, which may have anything in it. */
function line({ type, blob }: PublicKey): string {
  return `${type} ${blob.toString('base64')}`;
}
