/** What the lab's Keystone knows: its names, its services and its users. */
import { API1 } from './addresses.ts';

export const ADMIN_PASSWORD = 'admin-secret-of-the-lab';
export const DEMO_PASSWORD = 'demo-secret-of-the-lab';

export const KEYSTONE_HOST = 'keystone.cloud.example';
/** Each has a virtual host on the front, at API1. */
export const CLOUD_HOSTS = {
  [KEYSTONE_HOST]: 443,
  'nova.cloud.example': 443,
  'glance.cloud.example': 9292,
  'neutron.cloud.example': 9696,
  'cinder.cloud.example': 8776,
} as const;
/** Nova's version document names this host, as behind a proxy; nothing listens there. */
export const LINKED_ONLY = 'nova-backend.cloud.example:8774';

export const AUTH_URL = `https://${KEYSTONE_HOST}/v3`;

/** Lines for /etc/hosts. */
export const CLOUD_HOSTS_FILE = Object.keys(CLOUD_HOSTS)
  .map((name) => `${API1} ${name}\n`)
  .join('');

interface SeededEndpoint {
  readonly type: string;
  readonly name: string;
  readonly region: 'RegionOne' | 'RegionTwo';
  readonly kind: 'public' | 'internal';
  readonly url: string;
}

const service = (
  type: string,
  name: string,
  host: keyof typeof CLOUD_HOSTS,
  path: string,
): SeededEndpoint[] => {
  const port = CLOUD_HOSTS[host];
  const authority = port === 443 ? host : `${host}:${port}`;
  return [
    { type, name, region: 'RegionOne', kind: 'public', url: `https://${authority}${path}` },
    {
      type,
      name,
      region: 'RegionTwo',
      kind: 'internal',
      url: `http://${name}.internal.example:8000${path}`,
    },
  ];
};

/** The services except identity, which Keystone itself makes. */
export const ENDPOINTS: readonly SeededEndpoint[] = [
  ...service('compute', 'nova', 'nova.cloud.example', '/v2.1'),
  ...service('image', 'glance', 'glance.cloud.example', ''),
  ...service('network', 'neutron', 'neutron.cloud.example', ''),
  ...service('volumev3', 'cinder', 'cinder.cloud.example', '/v3/$(project_id)s'),
];

/** The targets of RegionOne, in the order of the report. */
export const TARGETS: readonly string[] = Object.entries(CLOUD_HOSTS).map(
  ([host, port]) => `${host}:${port}`,
);
