/** Plans of `tunnel jumphost terraform`, for its golden files and for Terraform itself. */
import type { JumpHostPlan, TerraformPlan } from '../../src/jumphost/plan.ts';
import { planOf } from './jumphostplan.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4TzmN9t8UNX/AWAVGNyse4AnXEpT1jd3pMG/HXEbff';
const LIST = ['api.example.com:443', '10.0.0.5:*', '[2001:db8::5]:8774'];
/** Begins a template in HCL, as it would in TypeScript. */
const D = '$';
/** A name that is a template, a string and a comment in HCL. */
export const ODD_NAME = `in "${D}{x}" %{if true} \\ # ${D}${D}{y}`;
const DIRECT: TerraformPlan = {
  network: 'public',
  floatingPool: undefined,
  privateNetwork: undefined,
};
const FLOATING: TerraformPlan = { ...DIRECT, network: undefined };

const HOST_KEY = {
  kind: 'ed25519',
  privateKey:
    '-----BEGIN OPENSSH PRIVATE KEY-----\nnone: of a test\n-----END OPENSSH PRIVATE KEY-----\n',
  publicKey: KEY,
  fingerprint: 'SHA256:of-a-test',
  certificate: undefined,
} as const;
const CERTIFICATE = {
  line: 'ssh-ed25519-cert-v01@openssh.com AAAAofatest',
  principals: ['jump.example.com'],
  until: new Date('2030-01-01T00:00:00Z'),
} as const;

interface Case extends Partial<Omit<JumpHostPlan, 'permitted'>> {
  readonly list?: readonly string[];
}

export const TERRAFORM_CASES: Readonly<Record<string, Case>> = {
  direct: { terraform: DIRECT },
  floating: { terraform: { ...FLOATING, floatingPool: 'ext-net' } },
  'floating-variable': { terraform: FLOATING },
  'private-network': { terraform: { ...DIRECT, privateNetwork: ODD_NAME } },
  port: { terraform: DIRECT, port: 2222, user: 'gate' },
  mfa: { terraform: DIRECT, mfa: 'google-authenticator' },
  'behind-proxy': { terraform: DIRECT, behindProxy: true },
  ipv6: { terraform: DIRECT, list: ['[2001:db8::4]:443', '[2001:db8::5]:443', '[2001:db8::5]:22'] },
  'many-ports': {
    terraform: DIRECT,
    list: [
      ...Array.from({ length: 200 }, (_, i) => `10.0.0.5:${8000 + i}`),
      ...Array.from({ length: 16 }, (_, i) => `10.0.1.${i}:443`),
      '10.0.1.16:443',
      '10.0.1.16:444',
    ],
  },
  'host-key': {
    terraform: DIRECT,
    port: 2222,
    cloudInit: { address: undefined, hostKey: HOST_KEY, hostCa: undefined },
  },
  'host-certificate': {
    terraform: DIRECT,
    cloudInit: {
      address: 'jump.example.com',
      hostKey: { ...HOST_KEY, certificate: CERTIFICATE },
      hostCa: KEY,
    },
  },
  'host-ca': {
    terraform: DIRECT,
    port: 2222,
    cloudInit: { address: '2001:db8::22', hostKey: undefined, hostCa: KEY },
  },
  'keys-from': {
    terraform: DIRECT,
    keys: [],
    keysFrom: [
      { kind: 'url', url: 'https://keys.example.com/team' },
      { kind: 'url', url: 'http://[2001:db8::7]:8080/' },
      { kind: 'command', command: `/usr/local/bin/keys "${D}{HOME}"` },
    ],
  },
};

/** By its name in TERRAFORM_CASES. */
export function terraformPlan(name: string): JumpHostPlan {
  const { list = LIST, ...more } = TERRAFORM_CASES[name] ?? {};
  return planOf(list, { keys: [`${KEY} o"${D}{a}%{b}`], ...more });
}
