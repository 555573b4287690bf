import './views.css';
import './base.css';
