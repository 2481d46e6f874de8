/**
 * Profiles of public clouds, which a cloud names by `profile: NAME`.
 *
 * Source: openstack/config/vendors of openstacksdk (https://opendev.org/openstack/openstacksdk),
 * commit 94758e92b6e754c44c32a0ae28627b78432b252b, Copyright its contributors, Apache License 2.0
 * (http://www.apache.org/licenses/LICENSE-2.0). Changed: only the settings that matter for
 * addresses and logins are here. `ovh` is from release 0.101.0, without its list of regions, which
 * is out of date: later releases fetch it. `otc-swiss` has the "https://" that it lacks there.
 */
import type { Raw } from './files.ts';

const DEFAULT_DOMAINS = { user_domain_name: 'Default', project_domain_name: 'Default' };
const V3 = { identity_api_version: '3' };
const GONE = 'the API endpoint is no longer responsive';

export const VENDOR_PROFILES: Raw = {
  auro: {
    auth: { auth_url: 'https://api.van2.auro.io:5000/v3', ...DEFAULT_DOMAINS },
    region_name: 'RegionOne',
    ...V3,
  },
  betacloud: { status: 'shutdown', message: 'betacloud.de has ceased business' },
  binero: {
    auth: { auth_url: 'https://auth.binero.cloud:5000/v3' },
    regions: ['europe-se-1'],
    ...V3,
  },
  bluebox: { region_name: 'RegionOne' },
  catalyst: {
    auth: { auth_url: 'https://api.cloud.catalyst.net.nz:5000/v2.0' },
    regions: ['nz-por-1', 'nz_wlg_2'],
  },
  citycloud: {
    auth: { auth_url: 'https://{region_name}.citycloud.com:5000/v3/' },
    regions: ['Buf1', 'Fra1', 'Sto2', 'Kna1', 'dx1', 'tky1'],
    ...V3,
  },
  conoha: {
    auth: { auth_url: 'https://identity.{region_name}.conoha.io' },
    regions: ['sin1', 'sjc1', 'tyo1'],
    identity_api_version: '2',
  },
  dreamcompute: {
    auth: { auth_url: 'https://iad2.dream.io:5000' },
    region_name: 'RegionOne',
    ...V3,
  },
  elastx: {
    auth: { auth_url: 'https://ops.elastx.cloud:5000/v3' },
    region_name: 'se-sto',
    ...V3,
  },
  entercloudsuite: {
    auth: { auth_url: 'https://api.entercloudsuite.com/' },
    regions: ['it-mil1', 'nl-ams1', 'de-fra1'],
    ...V3,
  },
  fuga: {
    auth: { auth_url: 'https://identity.api.fuga.io:5000', ...DEFAULT_DOMAINS },
    regions: ['cystack'],
    ...V3,
    status: 'deprecated',
    message: GONE,
  },
  ibmcloud: { status: 'shutdown', message: GONE },
  internap: { status: 'shutdown', message: 'Internap have been rebranded as HorizonIQ' },
  limestonenetworks: {
    auth: { auth_url: 'https://auth.cloud.lstn.net:5000/v3' },
    regions: ['us-dfw-1', 'us-slc'],
    ...V3,
  },
  otc: {
    auth: { auth_url: 'https://iam.{region_name}.otc.t-systems.com/v3' },
    regions: ['eu-de', 'eu-nl'],
    interface: 'public',
    ...V3,
  },
  'otc-swiss': {
    auth: { auth_url: 'https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3' },
    regions: ['eu-ch2'],
    interface: 'public',
    ...V3,
  },
  ovh: { auth: { auth_url: 'https://auth.cloud.ovh.net/', ...DEFAULT_DOMAINS }, ...V3 },
  'ovh-us': {
    auth: { auth_url: 'https://auth.cloud.ovh.us/', ...DEFAULT_DOMAINS },
    regions: ['US-EAST-VA-1', 'US-WEST-OR-1', 'US-EAST-VA', 'US-WEST-OR'],
    ...V3,
  },
  rackspace: {
    auth: { auth_url: 'https://identity.api.rackspacecloud.com/v2.0/' },
    regions: ['DFW', 'HKG', 'IAD', 'ORD', 'SYD', 'LON'],
    block_storage_endpoint_override:
      'https://{region_name}.blockstorage.api.rackspacecloud.com/v2/',
    identity_api_version: '2.0',
  },
  switchcloud: {
    auth: { auth_url: 'https://identity.compute.cloud.switch.ch/v3' },
    regions: ['zhw', 'zhc'],
    ...V3,
  },
  switchengines: {
    auth: { auth_url: 'https://keystone.cloud.switch.ch:5000/v3' },
    regions: ['LS', 'ZH'],
    ...V3,
  },
  ultimum: { status: 'shutdown', message: 'ultimum-cloud.com has ceased business' },
  unitedstack: { status: 'shutdown', message: GONE },
  vexxhost: { profile: 'https://vexxhost.com' },
  zetta: {
    auth: { auth_url: 'https://identity.api.zetta.io/v3' },
    regions: ['no-osl1'],
    ...V3,
  },
};
