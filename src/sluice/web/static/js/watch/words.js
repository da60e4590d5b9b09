// The words of the monitor and the report.
import { register } from "../core/i18n.js";
import en from "../../words/en/watch.js";
import zh from "../../words/zh/watch.js";

register({ en, zh });
