// The words of the operator's pages.
import { register } from "../core/i18n.js";
import en from "../../words/en/operator.js";
import zh from "../../words/zh/operator.js";

register({ en, zh });
