import { LOGIN_ROWS } from '../support/hostile/rows/login.ts';
import { describeRows } from '../support/hostile/suite.ts';

describeRows('the login', LOGIN_ROWS);
